"""What a candidate says of itself, and whether it fits: knobs without torch, bytes from a smoke run's own artifact.

A model that has taken a few real steps packs to what it will pack to at the end: row scales make small weights as
dense as large ones, so after one step no part is as compressible as its initial zeros.
"""

import json
from pathlib import Path

from data.errors import Refused
from data.state import State
from preflight import bundle, limits
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
        described = json.loads(last_line(job.log))["knobs"]
        values = {str(knob["name"]): knob["value"] for knob in described}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(
            State.CRASH, f"describe: expected knobs as JSON on the last line, got {type(error).__name__}"
        ) from error
    for name, value in values.items():
        if wrong := unfit(name, value):
            characters = limits.KNOB_NAME_CHARACTERS, limits.KNOB_VALUE_CHARACTERS
            expected = "a plain value, name and text of at most {} and {} characters".format(*characters)
            raise Refused(State.CRASH, f"describe: got {wrong}, expected {expected}")
    content = json.dumps(values, sort_keys=True)
    if len(described) > limits.KNOBS or len(content) > limits.KNOBS_BYTES:
        found, most = f"{len(described)} knobs in {len(content)} bytes", f"{limits.KNOBS} in {limits.KNOBS_BYTES}"
        raise Refused(State.CRASH, f"describe: got {found}, expected at most {most}")
    return content


def unfit(name: str, value: object) -> str:
    """What is wrong with a knob; empty for one that a row of the ledger can hold."""
    if len(name) > limits.KNOB_NAME_CHARACTERS or not name.isprintable():
        return f"a knob's name of {len(name)} characters, or of some that cannot be seen"
    if not isinstance(value, str | int | float | None):
        return f"{name} as a {type(value).__name__}"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"{name} in {value.bit_length()} bits"
    if isinstance(value, str) and len(value) > limits.KNOB_VALUE_CHARACTERS:
        return f"{name} in {len(value)} characters"
    return ""


def last_line(log: Path) -> bytes:
    """What a program says of itself, of a bounded size; empty if it says nothing. Raises Refused."""
    lines = log.read_bytes().splitlines()
    if lines and len(lines[-1]) > limits.DESCRIPTION_BYTES:
        raise Refused(State.CRASH, f"describe: got {len(lines[-1])} bytes, expected at most {limits.DESCRIPTION_BYTES}")
    return lines[-1] if lines else b""


def check(code_bytes: int, model_bytes: int, cap_bytes: int) -> list[Finding]:
    """Refuse what cannot fit even if it shrinks; what may or may not fit is decided by `pack` after training."""
    smallest = code_bytes + int(SLACK * model_bytes)
    if smallest <= cap_bytes:
        return []
    got, expected = f"at least {smallest:,} bytes", f"at most {cap_bytes:,} with the code"
    return [Finding(State.OVERSIZE, "size", got, expected, spent={"artifact_bytes": (smallest, cap_bytes)})]


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
        return program.stat().st_size + int(
            json.loads((folder / "size.json").read_text(encoding="utf-8"))["model_bytes"]
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(State.CRASH, f"size: expected model_bytes in size.json, found {type(error).__name__}") from error
    finally:
        discard(folder)
