"""The budgets of a trial per profile; they are defined only here, and nothing in base/ can change them."""

from dataclasses import dataclass, replace
from math import inf, sqrt

from common.limits import EVALUATION_SECONDS, TRAIN_SECONDS
from experiments.judge.noise import Noise
from experiments.judge.rule import RULES, Rule
from preflight.candidate.launch import EIGHT_H100, ONE_H100, POCKET, LaunchConfig

CONTROL_EVERY = 10  # one in so many trials that the proxy would drop runs in full, to measure what the proxy is worth
MEASUREMENTS_PER_TRIAL = 1.9  # on average (dev/benchmarks/judge.md); one in ten repeats a seed
PACK_SECONDS = 600.0  # wall time of packing, and of unpacking
SEED_SD_BPB = 0.0007  # between seeds of official records (rules.md section 8)
# Degrees of freedom of a noise estimate that was not measured on its tier: replicates soon outweigh it.
ASSUMED_DEGREES = 1.0


@dataclass(frozen=True)
class Tier:
    """One kind of measurement of a candidate, and its budgets.

    Example:
        >>> PROFILES["pocket"].tier.with_steps(100).steps
        100
    """

    name: str
    target: LaunchConfig
    split: str  # "dev" or "validation"
    rule: Rule
    expected_noise: Noise  # of a paired difference, before anything is measured
    train_wall_seconds: float  # generous where CPU seconds are the budget
    score_wall_seconds: float
    train_cpu_slack: float  # hard stop, in units of the baseline's CPU seconds; inf = wall time alone
    score_cpu_slack: float  # the same for loading and the first scoring pass
    pack_cpu_seconds: float  # for packing, and for unpacking; neither can learn (preflight/candidate/packing.py)
    largest_block: int  # tokens in one frame of the first scoring pass
    audit_tokens: int  # about so many are scored again where no keep depends on it; otherwise all of them
    audit_positions: int  # probe positions in a whole stream; at least a quarter of them in a part
    systematic_bound_bpb: float  # an audit that allows a larger systematic bias fails
    expected_minutes: float  # of one measurement

    @property
    def steps(self) -> int | None:
        """The length of a training run, where the tier fixes it in steps."""
        return int(self.target.environment.get("ITERATIONS", "0")) or None

    @property
    def equal_compute(self) -> bool:
        """True if CPU seconds are the budget: a trial whose steps cost more gets fewer of them."""
        return self.steps is not None and self.train_cpu_slack < inf

    def with_steps(self, steps: int | None) -> "Tier":
        """Return the tier with so many training steps; None leaves the tier's own."""
        if steps is None:
            return self
        environment = {**self.target.environment, "ITERATIONS": str(steps)}
        return replace(self, target=replace(self.target, environment=environment))


FULL_POCKET = Tier(
    name="full",
    target=POCKET,
    split="dev",
    rule=RULES["caddie"],
    # Of 42 pairs of equal trees, a third of which drew everything anew (dev/benchmarks/judge.md).
    expected_noise=Noise.expected(0.014),
    train_wall_seconds=240,
    score_wall_seconds=120,
    train_cpu_slack=1.20,  # candidates get up to 1.10 (trial/equal_compute.py), and counts vary by less than 0.10
    score_cpu_slack=4.0,  # generous, as the challenge's second 600 s were for its records' evaluation
    pack_cpu_seconds=20.0,
    largest_block=16_384,
    audit_tokens=1 << 40,
    audit_positions=640,
    systematic_bound_bpb=0.001,
    expected_minutes=0.9,
)

FULL_H100 = Tier(
    name="full",
    target=ONE_H100,
    split="dev",
    rule=RULES["caddie"],
    expected_noise=Noise.expected(SEED_SD_BPB * sqrt(2.0), ASSUMED_DEGREES),
    train_wall_seconds=TRAIN_SECONDS,
    score_wall_seconds=EVALUATION_SECONDS,
    train_cpu_slack=inf,
    score_cpu_slack=inf,
    pack_cpu_seconds=inf,
    largest_block=1 << 20,
    audit_tokens=1 << 20,
    audit_positions=16_384,
    systematic_bound_bpb=0.001,
    expected_minutes=14,
)
FULL_8XH100 = replace(
    FULL_H100,
    target=EIGHT_H100,
    train_wall_seconds=TRAIN_SECONDS + 10,  # the program stops itself at 600 s; closing weights.bin takes a moment
    expected_minutes=17,
)


# A proxy only screens: a trial that is clearly worse there is not run in full. One seed, nothing confirmed.
SCREENING = Rule(seeds=1, keep_p=0.9, drop_p=0.9, fresh=0, lines_per_effect=inf)
PROXY_H100 = replace(
    FULL_H100,
    name="proxy",
    rule=SCREENING,
    expected_noise=Noise.expected(3 * SEED_SD_BPB, ASSUMED_DEGREES),  # an early loss spreads more
    target=replace(ONE_H100, environment={**ONE_H100.environment, "ITERATIONS": "250"}),
    expected_minutes=5,
)
PROXY_8XH100 = replace(PROXY_H100, target=replace(PROXY_H100.target, preset=EIGHT_H100.preset))

# Promotion: fresh seeds on the validation set, and as many probe positions as a search tier uses in a whole run. On a
# CPU a position costs 19 ms: 4,096 of them take longer than the training.
PROMOTE = Rule(seeds=3, least=3, fresh=0)
RECORD_POCKET = replace(FULL_POCKET, name="record", split="validation", rule=PROMOTE, audit_positions=4_096)
RECORD_H100 = replace(FULL_H100, name="record", split="validation", rule=PROMOTE, audit_positions=32_768)
RECORD_8XH100 = replace(FULL_8XH100, name="record", split="validation", rule=PROMOTE, audit_positions=32_768)


def budget_lines(tier: Tier) -> list[str]:
    """Return a tier's budgets in words for the proposer: what a trial may use, and what happens beyond it."""
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


TEN_MINUTES_TRACK, NON_RECORD_TRACK = "track_10min_16mb", "track_non_record_16mb"  # of the challenge
POCKET_TRACK = "track_pocket"  # caddie's own: another text, so the reference is the run's own baseline


@dataclass(frozen=True)
class Profile:
    """A machine: the tiers that run on it, the corpus they need, and the price of an hour."""

    tier: Tier  # the full tier, which decides a search
    corpus: str  # a folder in shards/
    gpus: int
    dollars_per_hour: float
    proxy: Tier | None = None  # a cheap tier that screens trials first
    record: Tier | None = None  # the tier that promotion measures on
    track: str = ""  # the folder in records/ for promoted trials

    @property
    def baseline_minutes(self) -> float:
        """Expected minutes of the baseline's replicates."""
        return self.tier.rule.seeds * (
            self.tier.expected_minutes + (self.proxy.expected_minutes if self.proxy else 0.0)
        )

    @property
    def longest_trial_minutes(self) -> float:
        """Minutes of a trial that needs every seed, one of them twice, and fresh seeds for it and the incumbent."""
        measurements = self.tier.rule.seeds + 1 + 2 * self.tier.rule.fresh
        return measurements * self.tier.expected_minutes + (self.proxy.expected_minutes if self.proxy else 0.0)

    @property
    def trial_minutes(self) -> float:
        """Average minutes of a trial, and so the interval between two requests to a proposer."""
        return MEASUREMENTS_PER_TRIAL * self.tier.expected_minutes + (
            self.proxy.expected_minutes if self.proxy else 0.0
        )


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
