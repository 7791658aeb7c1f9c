"""Will the artifact fit? Exact code bytes, and an interval for the model from its own untrained export."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.errors import Refused
from preflight.finding import Finding
from preflight.phases import Candidate, require
from preflight.sandbox import Limits, run, take

LIMITS = Limits(wall_seconds=120, cpu_seconds=120)
REPORT_BYTES = 1 << 20
LEAST_OF_NOISE = 0.7  # trained pocket models packed to 0.96-0.97 of noise; as drawn, zero-initialised parts mislead


@dataclass(frozen=True)
class Size:
    """Bytes, and what the program said of itself (untrusted: shown and compared, never scored)."""

    code_bytes: int
    model_bytes: tuple[int, int]  # as drawn, and as noise: a trained model lies between, near noise
    description: dict[str, Any]

    @property
    def knobs(self) -> dict[str, Any]:
        """The resolved configuration."""
        return {str(knob["name"]): knob["value"] for knob in self.description["knobs"]}

    def knobs_json(self) -> str:
        return json.dumps(self.knobs, sort_keys=True)


def measure(candidate: Candidate, folder: Path) -> Size:
    """Run phase `size` and read its report; raises Refused."""
    job = candidate.size(folder, LIMITS)
    require(job, run(job), "size")
    take(job.out, "size.json", REPORT_BYTES, folder / "size.json")
    try:
        report = json.loads((folder / "size.json").read_text())
        low, high = (int(value) for value in report["model_bytes"])
        size = Size(candidate.bundle.stat().st_size, (low, high), report)
        size.knobs_json()
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise Refused("crash", f"size.json: expected model_bytes and knobs, got {type(error).__name__}") from error
    return size


def check(size: Size, cap_bytes: int) -> list[Finding]:
    """Refuse what cannot fit even at its smallest; what may or may not fit is decided by `pack`."""
    smallest = size.code_bytes + int(max(min(size.model_bytes), LEAST_OF_NOISE * max(size.model_bytes)))
    if smallest <= cap_bytes:
        return []
    return [Finding("oversize", "size", f"at least {smallest:,} bytes", f"at most {cap_bytes:,} with the code")]
