"""The self-description of a program (`describe`), validated, and knobs that are passed to it as environment values."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from common import limits
from common.errors import CaddieError, Refused
from common.profiles import RESERVED_PREFIXES
from common.state import State
from common.text import one_line
from preflight.candidate.candidate import Candidate, raise_for_outcome
from preflight.candidate.launch import LaunchConfig
from preflight.sandbox.cleanup import remove_tree
from preflight.sandbox.job import Limits
from preflight.sandbox.start import run

LIMITS = Limits(wall_seconds=60, cpu_seconds=60)
MAX_ITEMS = 256  # presets, techniques, knobs of a technique, parameter counts
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,60}$")]  # becomes a folder, a variable, a row of a table
Value = Annotated[str, Field(pattern=r"^[\w.:,+-]{0,60}$")] | float


Settings = Annotated[dict[Name, Value], Field(max_length=MAX_ITEMS)]


class Knob(BaseModel):
    """A named setting and the section of the configuration it belongs to."""

    name: Name
    section: Name = "none"


class Description(BaseModel):
    """The validated description: untrusted output of base, so every name, value and list is bounded."""

    knobs: Annotated[list[Knob], Field(max_length=limits.KNOBS)]
    presets: Annotated[list[Name], Field(max_length=MAX_ITEMS)]
    techniques: Annotated[dict[Name, Settings], Field(max_length=MAX_ITEMS)]
    parameters: Annotated[dict[Annotated[str, Field(max_length=60)], int], Field(max_length=MAX_ITEMS)] = {}


def describe(candidate: Candidate, folder: Path, budget: Limits, *arguments: str) -> Description:
    """Run `describe` and return the validated description; raises Refused."""
    job = candidate.job("describe", folder, budget, *arguments)
    try:
        raise_for_outcome(job, run(job), "describe")
        return Description.model_validate_json(_last_line(job.log))
    except ValidationError as error:
        location = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise Refused(State.CRASH, one_line(f"describe: {location}: {error.errors()[0]['msg']}", 300)) from error
    finally:
        remove_tree(folder)


def with_knobs(target: LaunchConfig, values: Mapping[str, str | float], known_names: set[str]) -> LaunchConfig:
    """Return the target with some knobs set.

    Raises CaddieError for a name that is not among `known_names`, or that something other than base would read.
    """
    if unknown := {name for name in values if name not in known_names or name.upper().startswith(RESERVED_PREFIXES)}:
        raise CaddieError(f"got {sorted(unknown)}, expected names of knobs: {_some_of(known_names)}")
    environment = {name.upper(): _as_text(value) for name, value in values.items()}
    if fixed := environment.keys() & target.environment.keys():
        raise CaddieError(f"{sorted(fixed)} are fixed by the tier; choose other knobs")
    return replace(target, environment={**target.environment, **environment})


def _some_of(names: set[str]) -> str:
    shown = sorted(names)[:12]
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "")


def _as_text(value: str | float) -> str:
    """Format a value as a person would type it: 2 for 2.0, all digits of any other float."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def knobs_json(candidate: Candidate, folder: Path) -> tuple[str, dict[str, str]]:
    """Return the resolved configuration, as the program describes it, as canonical JSON, and each knob's section.

    Raises Refused.
    """
    job = candidate.describe(folder, LIMITS)
    raise_for_outcome(job, run(job), "describe")
    try:
        described = json.loads(_last_line(job.log))["knobs"]
        values = {str(knob["name"]): knob["value"] for knob in described}
        sections = {str(knob["name"]): str(knob.get("section", "none")) for knob in described}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(
            State.CRASH, f"describe: expected knobs as JSON on the last line, got {type(error).__name__}"
        ) from error
    for name, value in values.items():
        if fault := _knob_fault(name, value):
            characters = limits.KNOB_NAME_CHARACTERS, limits.KNOB_VALUE_CHARACTERS
            expected = "a plain value, name and text of at most {} and {} characters".format(*characters)
            raise Refused(State.CRASH, f"describe: got {fault}, expected {expected}")
    content = json.dumps(values, sort_keys=True)
    if len(described) > limits.KNOBS or len(content) > limits.KNOBS_BYTES:
        got, most = f"{len(described)} knobs in {len(content)} bytes", f"{limits.KNOBS} in {limits.KNOBS_BYTES}"
        raise Refused(State.CRASH, f"describe: got {got}, expected at most {most}")
    return content, sections


def _knob_fault(name: str, value: object) -> str:
    """Return what is wrong with a knob; empty for one that a row of the ledger can hold."""
    if len(name) > limits.KNOB_NAME_CHARACTERS or not name.isprintable():
        return f"a knob's name of {len(name)} characters, or with unprintable ones"
    if not isinstance(value, str | int | float | None):
        return f"{name} as a {type(value).__name__}"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"{name} in {value.bit_length()} bits"
    if isinstance(value, str) and len(value) > limits.KNOB_VALUE_CHARACTERS:
        return f"{name} in {len(value)} characters"
    return ""


def _last_line(log: Path) -> bytes:
    """Return the last line of a log, empty if there is none; raises Refused if it is too long."""
    lines = log.read_bytes().splitlines()
    if lines and len(lines[-1]) > limits.DESCRIPTION_BYTES:
        raise Refused(State.CRASH, f"describe: got {len(lines[-1])} bytes, expected at most {limits.DESCRIPTION_BYTES}")
    return lines[-1] if lines else b""
