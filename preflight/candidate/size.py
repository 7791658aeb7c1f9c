"""Prediction of a candidate's artifact before it is trained: its untrained model through its own export path, as bytes.

Trained weights code to fewer bytes than untrained ones of the same shape, by a share that depends on bits and codec. So
the untrained size times the ratios that a run has measured is an interval; with none measured, ratios of
dev/benchmarks/size_prediction.md stand in. A candidate is refused only if even the interval's low end is over the cap.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import fmean

from common.errors import Refused
from common.state import State
from preflight.candidate.candidate import Candidate, raise_for_outcome
from preflight.candidate.launch import LaunchConfig
from preflight.finding import Finding
from preflight.sandbox.cleanup import remove_tree
from preflight.sandbox.job import Limits, collect_output
from preflight.sandbox.start import run
from preflight.source import bundle
from preflight.source.tree import Tree

# Without compute to fall back on, the program's own path may take a while: 36 M parameters on two cores
LIMITS = Limits(wall_seconds=300, cpu_seconds=600)
Ratios = Mapping[str, Sequence[float]]  # trained over untrained bytes of the model, by `Untrained.kind`
EXPECTED_RATIO, EXPECTED_SD = 0.92, 0.05  # before anything is measured
SPREAD, SPREAD_WEIGHT = 0.015, 2.0  # standard deviation between models of one kind, counting as so many measurements
REACH = 2.6  # standard deviations on each side: 95 % at five degrees of freedom, nearly 90 % at the first two
MAX_MODEL_BYTES = 1 << 40


@dataclass(frozen=True)
class Untrained:
    """The size of an untrained model: bytes of code and model, and the kind of its ratios, such as `6 bits, mix`."""

    code_bytes: int
    model_bytes: int
    kind: str


@dataclass(frozen=True)
class Forecast:
    """The interval that an artifact's bytes should fall in, code included."""

    untrained: Untrained
    low_bytes: int
    high_bytes: int
    cap_bytes: int

    @property
    def fits(self) -> str:
        """Whether it will fit, in a word."""
        if self.low_bytes > self.cap_bytes:
            return "no"
        return "yes" if self.high_bytes <= self.cap_bytes else "perhaps"

    def __str__(self) -> str:
        expected = f"{self.low_bytes:,} to {self.high_bytes:,} bytes expected, the cap is {self.cap_bytes:,}"
        return expected + (": it may not fit" if self.fits == "perhaps" else "")

    def findings(self) -> list[Finding]:
        """Return a finding if it cannot fit; borderline cases are decided by `pack` after training."""
        if self.fits != "no":
            return []
        got, expected = f"at least {self.low_bytes:,} bytes", f"at most {self.cap_bytes:,} with the code"
        spent = {"artifact_bytes": (self.low_bytes, self.cap_bytes)}
        return [Finding(State.OVERSIZE, "size", got, expected, spent=spent)]

    def to_json(self) -> str:
        """Return what the ledger keeps, from which a later forecast learns."""
        return json.dumps(
            {
                "untrained_bytes": self.untrained.model_bytes,
                "kind": self.untrained.kind,
                "low_bytes": self.low_bytes,
                "high_bytes": self.high_bytes,
            }
        )


def forecast(untrained: Untrained, ratios: Ratios, cap_bytes: int) -> Forecast:
    """Return the interval for ratios measured on models of this kind; other kinds' teach nothing.

    It is the predictive interval of a normal sample, whose spread is pooled with what is usual.
    """
    measured = ratios.get(untrained.kind, ())
    if measured:
        mean, degrees = fmean(measured), SPREAD_WEIGHT + len(measured) - 1
        squares = SPREAD_WEIGHT * SPREAD**2 + sum((ratio - mean) ** 2 for ratio in measured)
        reach = REACH * sqrt(squares / degrees * (1.0 + 1.0 / len(measured)))
    else:
        mean, reach = EXPECTED_RATIO, REACH * EXPECTED_SD
    low, high = (untrained.code_bytes + int(untrained.model_bytes * (mean + side * reach)) for side in (-1, 1))
    return Forecast(untrained, low, high, cap_bytes)


def measure(candidate: Candidate, folder: Path, bits: object = "") -> Untrained:
    """Return the bytes of code and untrained model as the program itself reports them; raises Refused.

    No score depends on it. `folder` is used and removed; `bits` goes into the kind.
    """
    job = candidate.size(folder / "job", LIMITS)
    try:
        raise_for_outcome(job, run(job), "size")
        collect_output(job.out, "size.json", 1 << 16, folder / "size.json")
        found = json.loads((folder / "size.json").read_text(encoding="utf-8"))
        by_codec: dict[str, int] = {}
        for stream in found.get("streams", []):
            codec = str(stream["codec"])[:20]
            by_codec[codec] = by_codec.get(codec, 0) + int(stream["bytes"])
        codec = max(by_codec, key=lambda name: by_codec[name], default="")
        kind = ", ".join(filter(None, (f"{bits} bits" if bits else "", codec)))
        model_bytes = int(found["model_bytes"])
        if not 0 <= model_bytes <= MAX_MODEL_BYTES:
            raise ValueError(f"got {model_bytes} bytes")
        return Untrained(candidate.bundle.stat().st_size, model_bytes, kind)
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError, OverflowError) as error:
        raise Refused(State.CRASH, f"size: expected model_bytes in size.json, got {type(error).__name__}") from error
    finally:
        remove_tree(folder)


def untrained_bytes(tree: Tree, target: LaunchConfig, folder: Path, level: str) -> int:
    """Return the bytes of code and untrained model of a tree; raises Refused."""
    folder.mkdir(parents=True)
    program = folder / bundle.NAME
    program.write_bytes(bundle.build(tree))
    found = measure(Candidate(program, target, level), folder / "size")
    remove_tree(folder)
    return found.code_bytes + found.model_bytes
