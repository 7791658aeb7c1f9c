"""The budgets of a trial, made of a table of profiles.toml; nothing in base/ can change them."""

from collections.abc import Iterator, MutableMapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import inf, sqrt

from common.limits import EVALUATION_SECONDS, TRAIN_SECONDS
from common.profiles import ProfileTable, read_profiles
from experiments.judge.noise import Noise
from experiments.judge.rule import RULES, Rule
from preflight.candidate.launch import LaunchConfig, launch_config

CONTROL_EVERY = 10  # one in so many trials that the proxy would drop runs in full, to measure what the proxy is worth
KEPT_SHARE = 0.066  # of trials (dev/benchmarks/judge.md)
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


# A proxy only screens: a trial that is clearly worse there is not run in full. One seed, nothing confirmed.
SCREENING = Rule(seeds=1, keep_p=0.9, drop_p=0.9, fresh=0, lines_per_effect=inf)
# Promotion: fresh seeds on the validation set, and more probe positions than a search tier uses in a whole run.
PROMOTE = Rule(seeds=3, least=3, fresh=0)


def full_tier(table: ProfileTable) -> Tier:
    """Return the tier of a profile that decides a search."""
    gpu, noise_bpb = table.gpus > 0, table.noise_bpb or SEED_SD_BPB * sqrt(2.0)
    # A GPU's program stops itself by the clock; closing weights.bin takes a moment.
    longest = 60 * table.minutes + 10 if table.minutes else TRAIN_SECONDS
    return Tier(
        name="full",
        target=launch_config(table),
        split="dev",
        rule=replace(RULES["caddie"], seeds=table.seeds),
        expected_noise=Noise.expected(noise_bpb, table.noise_degrees),
        train_wall_seconds=longest if gpu else 60 * table.longest_minutes,
        score_wall_seconds=60 * (table.score_minutes or (EVALUATION_SECONDS / 60 if gpu else 2)),
        train_cpu_slack=inf if gpu else 1.20,  # candidates get up to 1.10 (trial/equal_compute.py); counts vary by less
        score_cpu_slack=inf if gpu else 4.0,  # generous, as the challenge's second 600 s were for its records
        pack_cpu_seconds=inf if gpu else table.pack_seconds or 20.0,
        largest_block=1 << 20 if gpu else 16_384,
        audit_tokens=1 << 20 if gpu else 1 << 40,
        audit_positions=table.audit_positions or (16_384 if gpu else 640),
        systematic_bound_bpb=0.001,
        expected_minutes=table.measurement_minutes,
    )


def proxy_tier(table: ProfileTable) -> Tier | None:
    """Return the tier that screens trials, if the profile has one."""
    if table.proxy is None:
        return None
    own = {name: value for name, value in asdict(table.proxy).items() if value is not None}
    full = full_tier(replace(table, minutes=None, **own))
    noise = Noise.expected(3 * SEED_SD_BPB, ASSUMED_DEGREES)  # an early loss spreads more
    return replace(full, name="proxy", rule=SCREENING, expected_noise=noise)


def record_tier(table: ProfileTable) -> Tier | None:
    """Return the tier that promotion measures on, if promoted trials have a place to go."""
    if not table.track:
        return None
    positions = table.record.audit_positions
    return replace(full_tier(table), name="record", split="validation", rule=PROMOTE, audit_positions=positions)


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
        f"Packing: {packing}. It learns nothing: the artifact must decode to the weights byte for byte, but for the "
        "smallest integers of 1, pruned to fit.",
        "Quantization: a change of that and of packing alone is measured on the incumbent's saved weights, untrained.",
        f"Artifact: {tier.target.cap_bytes:,} bytes with the code.",
    ]


NON_RECORD_TRACK = "track_non_record_16mb"  # of the challenge
POCKET_TRACK = "track_pocket"  # caddie's own: another text, so the reference is the run's own baseline


@dataclass(frozen=True)
class Profile:
    """A machine: the tiers that run on it, the corpus they need, and the price of an hour."""

    tier: Tier  # the full tier, which decides a search
    corpus: str  # a folder in shards/, or a path
    gpus: int
    dollars_per_hour: float
    proxy: Tier | None = None  # a cheap tier that screens trials first
    record: Tier | None = None  # the tier that promotion measures on
    track: str = ""  # the folder in records/ for promoted trials
    table: ProfileTable | None = None  # what it was made of

    @classmethod
    def of(cls, table: ProfileTable) -> "Profile":
        """Return the profile that a table of profiles.toml describes."""
        return cls(
            full_tier(table),
            table.corpus,
            table.gpus,
            table.dollars_per_hour,
            proxy_tier(table),
            record_tier(table),
            table.track,
            table,
        )

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


class Profiles(MutableMapping[str, Profile]):
    """The profiles of profiles.toml, read when one is first asked for: a run that has begun needs none of them."""

    def __init__(self) -> None:
        self.added: dict[str, Profile] = {}

    @cached_property
    def shipped(self) -> dict[str, Profile]:
        return {name: Profile.of(table) for name, table in read_profiles().items()}

    def __getitem__(self, name: str) -> Profile:
        return self.added[name] if name in self.added else self.shipped[name]

    def __setitem__(self, name: str, profile: Profile) -> None:
        self.added[name] = profile

    def __delitem__(self, name: str) -> None:
        del self.added[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self.shipped, **self.added})

    def __len__(self) -> int:
        return len({**self.shipped, **self.added})


PROFILES = Profiles()
