"""What a candidate says of itself, and whether it fits: knobs without torch, bytes from a smoke run's own artifact.

A model that has taken a few real steps packs to what it will pack to at the end: row scales make small weights as
dense as large ones, so after one step no part is as compressible as its initial zeros.
"""

import json
from pathlib import Path

from data.errors import Refused
from preflight import bundle
from preflight.finding import Finding
from preflight.phases import Candidate, Target, require
from preflight.sandbox import Limits, run, take
from preflight.sandbox.cleanup import discard
from preflight.tree import Tree

LIMITS = Limits(wall_seconds=60, cpu_seconds=60)
SLACK = 0.9  # of the smoke run's model: training may still make it a little more compressible


def knobs(candidate: Candidate, folder: Path) -> str:
    """The resolved configuration as canonical JSON, by the program's own account; raises Refused."""
    job = candidate.describe(folder, LIMITS)
    require(job, run(job), "describe")
    try:
        described = json.loads(job.log.read_text(encoding="utf-8").splitlines()[-1])
        return json.dumps({str(knob["name"]): knob["value"] for knob in described["knobs"]}, sort_keys=True)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise Refused(
            "crash", f"describe: expected knobs as JSON on the last line, got {type(error).__name__}"
        ) from error


def check(code_bytes: int, model_bytes: int, cap_bytes: int) -> list[Finding]:
    """Refuse what cannot fit even if it shrinks; what may or may not fit is decided by `pack` after training."""
    smallest = code_bytes + int(SLACK * model_bytes)
    if smallest <= cap_bytes:
        return []
    return [Finding("oversize", "size", f"at least {smallest:,} bytes", f"at most {cap_bytes:,} with the code")]


def untrained_bytes(tree: Tree, target: Target, folder: Path, level: str) -> int:
    """Code and model of a tree as initialised, by its own account: no score hangs on it; raises Refused.

    Zero-initialised parts pack to nothing, so this is only good for ratios between models of one family. `folder` is
    used and removed.
    """
    folder.mkdir(parents=True)
    program = folder / bundle.NAME
    program.write_bytes(bundle.build(tree))
    work = folder / "size"
    job = Candidate(program, target, level).size(work, LIMITS)
    try:
        require(job, run(job), "size")
        take(job.out, "size.json", 1 << 16, folder / "size.json")
        return program.stat().st_size + int(json.loads((folder / "size.json").read_text())["model_bytes"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused("crash", f"size: expected model_bytes in size.json, found {type(error).__name__}") from error
    finally:
        discard(folder)
