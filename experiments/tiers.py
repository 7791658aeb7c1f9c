"""What a trial may cost, per profile: the only place, and nothing in base/ can change it."""

from dataclasses import dataclass, replace
from math import inf, sqrt

from experiments.judge import RULES, Noise, Rule
from preflight.limits import EVALUATION_SECONDS, TRAIN_SECONDS
from preflight.phases import Target
from preflight.targets import EIGHT_H100, ONE_H100, POCKET

CONTROL_EVERY = 10  # of the trials that a cheap look would end, one runs on: else its worth could not be known
MEASUREMENTS = 1.9  # of a trial, on average: dev/benchmarks/judge.md; one in ten repeats a seed
PACK_SECONDS = 600.0  # of packing and of unpacking, by the wall
SEED_SD_BPB = 0.0007  # of official records between seeds (rules.md section 8)
GUESSED = 1.0  # degrees of freedom of an expectation that nobody measured on that tier: replicates soon outweigh it


@dataclass(frozen=True)
class Tier:
    """One kind of measurement of a candidate."""

    name: str
    target: Target
    split: str  # dev or validation
    rule: Rule
    expected_noise: Noise  # of a paired difference, before anything is measured
    train_wall_seconds: float  # generous where CPU seconds are the budget
    score_wall_seconds: float
    train_cpu_slack: float  # the hard stop, over the CPU seconds that the baseline needed; inf = by wallclock alone
    score_cpu_slack: float  # the same for loading and the first conversation
    pack_cpu_seconds: float  # of packing and of unpacking, which can learn nothing (preflight/packing.py)
    largest_block: int  # tokens of one frame of the first conversation
    proof_tokens: int  # read again, about, where a measurement decides no keep: else all of them
    proof_places: int  # distributions demanded of a whole stream, a quarter of them or more of a part
    smooth_bound_bpb: float  # a proof that leaves more room than this is no proof
    expected_minutes: float  # of one measurement

    @property
    def steps(self) -> int | None:
        """How long a training run is, where that is fixed in steps."""
        return int(self.target.environment.get("ITERATIONS", "0")) or None

    @property
    def equal_compute(self) -> bool:
        """Whether dearer steps are fewer: CPU seconds are the budget, and steps are how they are given out."""
        return self.steps is not None and self.train_cpu_slack < inf

    def with_steps(self, steps: int | None) -> "Tier":
        """The same with so many steps of training, where a trial was given others than the tier's own."""
        if steps is None:
            return self
        environment = {**self.target.environment, "ITERATIONS": str(steps)}
        return replace(self, target=replace(self.target, environment=environment))


FULL_POCKET = Tier(
    name="full",
    target=POCKET,
    split="dev",
    rule=RULES["caddie"],
    expected_noise=Noise.expected(
        0.014
    ),  # of 42 pairs of equals, a third of which drew everything anew (dev/benchmarks/judge.md)
    train_wall_seconds=240,
    score_wall_seconds=120,
    train_cpu_slack=1.20,  # candidates get up to 1.10 (experiments/compute.py), and counts vary by less than 0.10
    score_cpu_slack=4.0,  # as the challenge's second 600 s are more than its records' evaluation once took
    pack_cpu_seconds=20.0,
    largest_block=16_384,
    proof_tokens=1 << 40,
    proof_places=640,
    smooth_bound_bpb=0.001,
    expected_minutes=0.9,
)

FULL_H100 = Tier(
    name="full",
    target=ONE_H100,
    split="dev",
    rule=RULES["caddie"],
    expected_noise=Noise.expected(SEED_SD_BPB * sqrt(2.0), GUESSED),
    train_wall_seconds=TRAIN_SECONDS,
    score_wall_seconds=EVALUATION_SECONDS,
    train_cpu_slack=inf,
    score_cpu_slack=inf,
    pack_cpu_seconds=inf,
    largest_block=1 << 20,
    proof_tokens=1 << 20,
    proof_places=16_384,
    smooth_bound_bpb=0.001,
    expected_minutes=14,
)
FULL_8XH100 = replace(
    FULL_H100,
    target=EIGHT_H100,
    train_wall_seconds=TRAIN_SECONDS + 10,  # the program stops itself at 600 s; closing weights.bin takes a moment
    expected_minutes=17,
)


# A proxy only sorts out: what is clearly worse there is not run in full. One seed, nothing confirmed.
SORT_OUT = Rule(seeds=1, keep_p=0.9, drop_p=0.9, fresh=0, lines_per_effect=inf)
PROXY_H100 = replace(
    FULL_H100,
    name="proxy",
    rule=SORT_OUT,
    expected_noise=Noise.expected(3 * SEED_SD_BPB, GUESSED),  # an early loss spreads more
    target=replace(ONE_H100, environment={**ONE_H100.environment, "ITERATIONS": "250"}),
    expected_minutes=5,
)
PROXY_8XH100 = replace(PROXY_H100, target=replace(PROXY_H100.target, preset=EIGHT_H100.preset))

# Promotion: fresh seeds on the validation set, as many distributions as a search tier demands in a night. On a CPU a
# place costs 19 ms: 4,096 of them take longer than the training.
PROMOTE = Rule(seeds=3, least=3, fresh=0)
RECORD_POCKET = replace(FULL_POCKET, name="record", split="validation", rule=PROMOTE, proof_places=4_096)
RECORD_H100 = replace(FULL_H100, name="record", split="validation", rule=PROMOTE, proof_places=32_768)
RECORD_8XH100 = replace(FULL_8XH100, name="record", split="validation", rule=PROMOTE, proof_places=32_768)


def stated(tier: Tier) -> list[str]:
    """A tier's budgets for whoever proposes: what a trial may use, and what happens beyond it."""
    if tier.equal_compute:
        training = (
            f"Training: {tier.steps} steps where a step costs what the baseline's does; the incumbent's number while "
            "it uses the baseline's CPU seconds within a tenth, else more or fewer in tenths, so that steps x cost "
            "stays the same. Set-up beyond the baseline's counts as training. Hard stop at "
            f"{tier.train_cpu_slack:.1f} times the baseline's CPU seconds, by the kernel's count of all processes."
        )
        scoring = f"{tier.score_cpu_slack:g} times the baseline's CPU seconds"
        packing = f"{tier.pack_cpu_seconds:g} CPU seconds"
    else:
        length = f"{tier.steps} steps, at most " if tier.steps else ""
        most = min(tier.train_wall_seconds, TRAIN_SECONDS)
        training = f"Training: {length}{most:g} s from the data to the closed weights."
        scoring, packing = f"{tier.score_wall_seconds:g} s", f"{PACK_SECONDS:g} s"
    return [
        training,
        f"Evaluation: {scoring}, loading included. Using it is legal.",
        f"Packing: {packing}. It learns nothing: the artifact must decode to the weights byte for byte.",
        f"Artifact: {tier.target.cap_bytes:,} bytes with the code.",
    ]


TEN_MINUTES_TRACK, NON_RECORD_TRACK = "track_10min_16mb", "track_non_record_16mb"  # the challenge's
POCKET_TRACK = "track_pocket"  # ours: another text, so its numbers are held against the run's own baseline


@dataclass(frozen=True)
class Profile:
    """A machine: the tiers that run on it, the corpus they need, and what an hour of it costs."""

    tier: Tier  # full: the one that decides a search
    corpus: str  # a folder of shards/
    gpus: int
    dollars_per_hour: float
    proxy: Tier | None = None  # cheap and first, where there is one
    record: Tier | None = None  # for promotion
    track: str = ""  # of records/: where what is promoted goes

    @property
    def baseline_minutes(self) -> float:
        """What the replicates of a baseline take."""
        return self.tier.rule.seeds * (
            self.tier.expected_minutes + (self.proxy.expected_minutes if self.proxy else 0.0)
        )

    @property
    def longest_trial_minutes(self) -> float:
        """What a trial takes that needs every seed, one of them twice, and fresh ones beside the incumbent."""
        measurements = self.tier.rule.seeds + 1 + 2 * self.tier.rule.fresh
        return measurements * self.tier.expected_minutes + (self.proxy.expected_minutes if self.proxy else 0.0)

    @property
    def trial_minutes(self) -> float:
        """What a trial takes on average, and so how far apart two questions to a proposer are."""
        return MEASUREMENTS * self.tier.expected_minutes + (self.proxy.expected_minutes if self.proxy else 0.0)


PROFILES = {
    "pocket": Profile(FULL_POCKET, "pocket", gpus=0, dollars_per_hour=0.0, record=RECORD_POCKET, track=POCKET_TRACK),
    # on-demand H100 SXM, 2026
    "h100": Profile(
        FULL_H100,
        corpus="sp1024",
        gpus=1,
        dollars_per_hour=3.0,
        proxy=PROXY_H100,
        record=RECORD_H100,
        track=NON_RECORD_TRACK,
    ),
    "8xh100": Profile(
        FULL_8XH100,
        corpus="sp8192",
        gpus=8,
        dollars_per_hour=24.0,
        proxy=PROXY_8XH100,
        record=RECORD_8XH100,
        track=TEN_MINUTES_TRACK,
    ),
}
