"""What a program says of itself (`describe`), read with care, and knobs that reach it as environment values."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from data.errors import CaddieError, Refused
from data.state import State
from preflight import limits
from preflight.phases import Candidate, Target, require
from preflight.sandbox import Limits, run
from preflight.sandbox.cleanup import discard
from preflight.size import last_line
from preflight.text import one_line

# Variables that reach the sandbox's own program, the linker or the interpreter before base reads one.
FOREIGN = ("PATH", "HOME", "USER", "LANG", "LC_", "LD_", "TMP", "XDG_", "PYTHON", "GLIBC", "MALLOC", "TORCH", "CUDA")

MOST = 256  # presets, techniques, knobs of one, counts of parameters
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,60}$")]  # it becomes a folder, a variable, a line of a table
Value = Annotated[str, Field(pattern=r"^[\w.:,+-]{0,60}$")] | float


class Knob(BaseModel):
    name: Name
    section: Name = "none"


class Account(BaseModel):
    """base's own words, so of a shape and size that can do no harm."""

    knobs: Annotated[list[Knob], Field(max_length=limits.KNOBS)]
    presets: Annotated[list[Name], Field(max_length=MOST)]
    techniques: Annotated[dict[Name, Annotated[dict[Name, Value], Field(max_length=MOST)]], Field(max_length=MOST)]
    parameters: Annotated[dict[Annotated[str, Field(max_length=60)], int], Field(max_length=MOST)] = {}


def described(candidate: Candidate, folder: Path, budget: Limits, *arguments: str) -> Account:
    """What the program says of itself as its target; raises Refused."""
    job = candidate.job("describe", folder, budget, *arguments)
    try:
        require(job, run(job), "describe")
        return Account.model_validate_json(last_line(job.log))
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise Refused(State.CRASH, one_line(f"describe: {place}: {error.errors()[0]['msg']}", 300)) from error
    finally:
        discard(folder)


def with_knobs(target: Target, values: Mapping[str, str | float], known: set[str]) -> Target:
    """The target with some knobs set; what is not `known`, or means something to others than base, is refused."""
    if strange := {name for name in values if name not in known or name.upper().startswith(FOREIGN)}:
        raise CaddieError(f"got {sorted(strange)}, expected names of knobs: {one_of(known)}")
    environment = {name.upper(): plain(value) for name, value in values.items()}
    if fixed := environment.keys() & target.environment.keys():
        raise CaddieError(f"{sorted(fixed)} are fixed by the tier; choose other knobs")
    return replace(target, environment={**target.environment, **environment})


def one_of(names: set[str]) -> str:
    shown = sorted(names)[:12]
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "")


def plain(value: str | float) -> str:
    """As a person would type it: 2 for 2.0, all digits of what is no whole number."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
