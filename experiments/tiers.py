"""What a trial may cost, per profile: the only place, and nothing in base/ can change it."""

from dataclasses import dataclass, replace
from math import inf

from preflight.limits import EVALUATION_SECONDS, TRAIN_SECONDS
from preflight.phases import Target
from preflight.targets import EIGHT_H100, ONE_H100, POCKET


@dataclass(frozen=True)
class Tier:
    """One kind of measurement of a candidate."""

    name: str
    target: Target
    split: str  # dev or validation
    seeds: tuple[int, ...]
    train_wall_seconds: float  # generous where CPU seconds are the budget
    score_wall_seconds: float
    train_cpu_slack: float  # CPU budget over what the baseline needed; inf = by wallclock alone
    score_cpu_slack: float  # the same for the first conversation, which is short and so counted less exactly
    largest_block: int  # tokens of one frame of the first conversation
    proof_tokens: int  # read again in the second conversation
    proof_places: int  # distributions demanded in it
    smooth_bound_bpb: float  # a proof that leaves more room than this is no proof
    margin_bpb: float  # a keep beats the incumbent by more than this on the same seeds
    expected_minutes: float


FULL_POCKET = Tier(
    name="full",
    target=POCKET,
    split="dev",
    seeds=(1337,),
    train_wall_seconds=240,
    score_wall_seconds=120,
    train_cpu_slack=1.10,
    score_cpu_slack=1.25,  # half the stride costs 1.53; an honest scorer that exceeds it gets a second try
    largest_block=16_384,
    proof_tokens=1 << 40,
    proof_places=256,
    smooth_bound_bpb=0.001,
    margin_bpb=0.010,
    expected_minutes=1.2,
)

FULL_H100 = Tier(
    name="full",
    target=ONE_H100,
    split="dev",
    seeds=(1337,),
    train_wall_seconds=TRAIN_SECONDS,
    score_wall_seconds=EVALUATION_SECONDS,
    train_cpu_slack=inf,
    score_cpu_slack=inf,
    largest_block=1 << 20,
    proof_tokens=1 << 20,
    proof_places=256,
    smooth_bound_bpb=0.001,
    margin_bpb=0.002,
    expected_minutes=14,
)
FULL_8XH100 = replace(
    FULL_H100,
    target=EIGHT_H100,
    train_wall_seconds=TRAIN_SECONDS + 10,  # the program stops itself at 600 s; closing weights.bin takes a moment
    expected_minutes=17,
)


@dataclass(frozen=True)
class Profile:
    """A machine: the tier that searches on it, the corpus it needs, and what an hour of it costs."""

    tier: Tier
    corpus: str  # a folder of shards/
    gpus: int
    dollars_per_hour: float


PROFILES = {
    "pocket": Profile(FULL_POCKET, "pocket", gpus=0, dollars_per_hour=0.0),
    "h100": Profile(FULL_H100, "sp1024", gpus=1, dollars_per_hour=3.0),  # on-demand H100 SXM, 2026
    "8xh100": Profile(FULL_8XH100, "sp8192", gpus=8, dollars_per_hour=24.0),
}
