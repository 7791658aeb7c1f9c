"""The record of one measurement, as the ledger stores it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from preflight.scoring.honesty import Honesty

ORIGINAL_ORDER = 0  # the data seed for shards in their original order, from their first token


@dataclass(frozen=True)
class Measurement:
    """The numbers that the harness measured itself; only the losses come from the candidate, and they were audited."""

    seed: int
    val_bpb: float  # conservative: the claimed value plus the audit's charge
    val_nats: float  # the same, mean per token
    code_bytes: int
    model_bytes: int
    artifact_sha256: str
    train_wall_seconds: float
    train_cpu_seconds: float
    train_setup_seconds: float
    train_setup_cpu_seconds: float
    pack_wall_seconds: float
    pack_cpu_seconds: float
    load_wall_seconds: float
    load_cpu_seconds: float
    score_wall_seconds: float  # of the first pass
    score_cpu_seconds: float
    proof_wall_seconds: float
    yardstick_seconds: float  # the machine's speed before training (experiments/runner/calibration.py)
    honesty: Honesty
    # The score error bound: how far val_bpb can be off by systematic bias, channels between jobs and unread text ...
    honesty_bpb: float
    rare_bpb: float  # ... and by sparse tampering
    data_seed: int = ORIGINAL_ORDER
    charge_bpb: float = 0.0  # part of val_bpb: predicted minus claimed losses as the audit measured them, and its error
    spent: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # (used, limit) of every finite budget

    @property
    def artifact_bytes(self) -> int:
        """The bytes that the challenge's cap counts: code and model."""
        return self.code_bytes + self.model_bytes

    @property
    def evaluation_wall_seconds(self) -> float:
        """The seconds that the challenge's limit counts: loading and the first pass."""
        return self.load_wall_seconds + self.score_wall_seconds
