"""One measurement as data: what to run (Job), what came of it (Measured), and who may run it (Runner)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from data.corpus import Corpus
from experiments.tiers import Tier
from preflight.proof import Honesty


@dataclass(frozen=True)
class Budget:
    """CPU seconds a candidate may spend, from what the baseline needed when the machine was that fast."""

    train_cpu_seconds: float  # the hard stop
    score_cpu_seconds: float  # of loading and the first conversation
    setup_cpu_seconds: float  # free, before the clock of training: more counts as training
    yardstick_seconds: float


LOSSES = "losses.npy"  # below a measurement's folder: the nats of every token of its split, float16
AS_THEY_ARE = 0  # a data seed: shards in their own order, from their first token
UNLIMITED = Budget(*[float("inf")] * 4)


@dataclass(frozen=True)
class Job:
    """Train, pack and score one bundle with one seed."""

    bundle: Path
    tier: Tier
    corpus: Corpus
    seed: int
    budget: Budget
    folder: Path  # of this measurement alone
    level: str
    whole: bool = True  # the proof reads all of the stream: what may become the incumbent or a record
    reference: Path | None = None  # losses that a gain is claimed over: an incumbent's, as LOSSES holds them
    data_seed: int = AS_THEY_ARE  # of the order and offset of the training shards (experiments/luck.py)


@dataclass(frozen=True)
class Measured:
    """What the harness itself measured; nothing here was said by the candidate but its losses, which were proved."""

    seed: int
    val_bpb: float  # the conservative number: what was claimed, and the proof's charge
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
    score_wall_seconds: float  # of the first conversation
    score_cpu_seconds: float
    proof_wall_seconds: float
    yardstick_seconds: float  # the machine's speed before training (preflight/yardstick.py)
    honesty: Honesty
    honesty_bpb: float  # how far val_bpb can be off by a smooth lie, what may have passed between jobs, what is unread
    rare_bpb: float  # and by a rare one
    data_seed: int = AS_THEY_ARE
    charge_bpb: float = 0.0  # of val_bpb: what the proof measured between promises and claims, and its error
    spent: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # (used, limit) of every finite budget

    @property
    def artifact_bytes(self) -> int:
        return self.code_bytes + self.model_bytes

    @property
    def evaluation_wall_seconds(self) -> float:
        """What the challenge's limit counts: loading and the first conversation."""
        return self.load_wall_seconds + self.score_wall_seconds


class Runner(Protocol):
    """Where measurements happen: this machine now, a cluster later."""

    def measure(self, job: Job) -> Measured:
        """Raises Refused (the candidate's fault), SandboxError or DataError (nobody's)."""
