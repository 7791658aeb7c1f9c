"""Check of a candidate's size against the byte cap, from the artifact of its smoke run.

A model packs to nearly its final size after a few real steps: row scales make small weights as dense as large ones, so
after one step no part is as compressible as its initial zeros.
"""

import json
from pathlib import Path

from common.errors import Refused
from common.state import State
from preflight.candidate.candidate import Candidate, raise_for_outcome
from preflight.candidate.describe import LIMITS
from preflight.candidate.launch import LaunchConfig
from preflight.finding import Finding
from preflight.sandbox.cleanup import remove_tree
from preflight.sandbox.job import collect_output
from preflight.sandbox.start import run
from preflight.source import bundle
from preflight.source.tree import Tree

SLACK = 0.9  # training may still make the smoke run's model a little more compressible


def check(code_bytes: int, model_bytes: int, cap_bytes: int) -> list[Finding]:
    """Refuse a model that cannot fit even if it shrinks; borderline cases are decided by `pack` after training."""
    smallest = code_bytes + int(SLACK * model_bytes)
    if smallest <= cap_bytes:
        return []
    got, expected = f"at least {smallest:,} bytes", f"at most {cap_bytes:,} with the code"
    return [Finding(State.OVERSIZE, "size", got, expected, spent={"artifact_bytes": (smallest, cap_bytes)})]


def untrained_bytes(tree: Tree, target: LaunchConfig, folder: Path, level: str) -> int:
    """Return the bytes of code and untrained model as the program itself reports them; raises Refused.

    No score depends on it. Parts initialized to zero pack to nothing, so it is only good for ratios between models of
    one family. `folder` is used and removed.
    """
    folder.mkdir(parents=True)
    program = folder / bundle.NAME
    program.write_bytes(bundle.build(tree))
    work = folder / "size"
    job = Candidate(program, target, level).size(work, LIMITS)
    try:
        raise_for_outcome(job, run(job), "size")
        collect_output(job.out, "size.json", 1 << 16, folder / "size.json")
        return program.stat().st_size + int(
            json.loads((folder / "size.json").read_text(encoding="utf-8"))["model_bytes"]
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(State.CRASH, f"size: expected model_bytes in size.json, got {type(error).__name__}") from error
    finally:
        remove_tree(folder)
