"""One measurement as data: the job (Job), its budget (Budget), and the interface of what runs it (Runner)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data.corpus import Corpus
from experiments.ledger.measurement import ORIGINAL_ORDER, Measurement
from experiments.tiers import Tier


@dataclass(frozen=True)
class Budget:
    """CPU seconds that a candidate may spend, derived from the baseline's at the calibrated speed of the machine."""

    train_cpu_seconds: float  # the hard stop
    score_cpu_seconds: float  # of loading and the first pass
    setup_cpu_seconds: float  # free, before the clock of training starts: more counts as training
    cpu_calibration_seconds: float  # the machine's speed when the baseline was measured


CHECKPOINT = "checkpoint.bin"  # in a measurement's folder: weights before quantization, and its calibration
LOSSES = "losses.npy"  # in a measurement's folder: nats of every token of its split, float16
UNLIMITED = Budget(*[float("inf")] * 4)


@dataclass(frozen=True)
class Job:
    """A request to train, pack and score one bundle with one seed.

    Args:
        bundle: The program, as one file.
        tier: The budgets and the split.
        corpus: The data.
        seed: The training seed.
        budget: The CPU seconds that the program may use.
        folder: A folder for this measurement alone.
        level: The sandbox level.
        full_audit: Audit the losses of all tokens: for what may become the incumbent or a record.
        reference: Losses of the incumbent, over which a gain is claimed, in the format of LOSSES.
        data_seed: The seed for order and offset of the training shards (experiments/runner/seeds.py).
        checkpoint: What an earlier training left: it is quantized again, and nothing is trained.
    """

    bundle: Path
    tier: Tier
    corpus: Corpus
    seed: int
    budget: Budget
    folder: Path
    level: str
    full_audit: bool = True
    reference: Path | None = None
    data_seed: int = ORIGINAL_ORDER
    checkpoint: Path | None = None


class Runner(Protocol):
    """The interface of a place where measurements run: this machine now, a cluster later.

    Example:
        >>> class Cluster:
        ...     def measure(self, job: Job) -> Measurement:
        ...         return submit(job).result()
    """

    def measure(self, job: Job) -> Measurement:
        """Run a job.

        Raises:
            Refused: The candidate failed or broke a rule.
            SandboxError: The sandbox failed, which is not the candidate's fault.
            DataError: The corpus is not usable, which is not the candidate's fault.
        """
