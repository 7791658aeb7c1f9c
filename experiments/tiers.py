"""What a trial may cost, per profile: the only place, and nothing in base/ can change it."""

from dataclasses import dataclass

from preflight.phases import Target
from preflight.targets import POCKET


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

PROFILES = {"pocket": FULL_POCKET}
