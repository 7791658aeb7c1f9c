"""submission.json: the fields that the challenge's records have in common, and their types (rules.md section 9)."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from preflight.finding import Finding
from preflight.text import one_line

LARGEST = 1 << 20  # bytes of the file
NOT_SAID = 1e9  # stands for a val_bpb that the file lacks
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0, le=1 << 40, strict=True)]
NUMBERS = {
    *("val_bpb", "val_loss", "artifact_bytes", "steps", "train_time_s", "eval_time_s", "val_bpb_std", "bytes_total"),
    *("bytes_code", "val_text_bytes", "margin_bpb", "p_value"),
}
LISTS = ("seeds", "statistics.reference_val_bpb")
QUOTED = re.compile(r"-?(0|[1-9]\d{0,18})(\.\d{1,18})?(e[+-]?\d{1,3})?")
Text = Annotated[str, Field(min_length=1)]


def dated(text: str) -> str:
    """A day, or a day and a time, as ISO 8601 writes them."""
    datetime.fromisoformat(text)
    return text


class SeedResult(BaseModel):
    """One seed's numbers; records add others, which pass."""

    model_config = ConfigDict(extra="allow")

    val_bpb: Positive
    val_loss: Positive | None = None
    artifact_bytes: Count | None = None
    steps: Count | None = None
    train_time_s: Positive | None = None
    eval_time_s: Positive | None = None


class Statistics(BaseModel):
    """How a claim was tested, so that anyone can test it again: bits per byte, lower is better, one-sided Welch."""

    reference: Text
    reference_val_bpb: Annotated[list[Positive], Field(min_length=1)]  # one = taken as exact
    margin_bpb: Annotated[float, Field(ge=0, le=1e9)]
    p_value: Annotated[float, Field(ge=0, le=1)]


class Submission(BaseModel):
    """The whole file. Required is what nearly every official record has."""

    model_config = ConfigDict(extra="allow")

    author: Text
    github_id: Text
    name: Text
    date: Annotated[str, AfterValidator(dated)]
    val_bpb: Positive
    blurb: str | None = None
    track: str | None = None
    val_loss: Positive | None = None
    val_bpb_std: Annotated[float, Field(ge=0)] | None = None
    seeds: list[Annotated[int, Field(strict=True)]] | dict[str, object] | None = None
    seed_results: dict[str, SeedResult] | None = None
    bytes_total: Count | None = None
    bytes_code: Annotated[int, Field(ge=0, le=1 << 40, strict=True)] | None = None
    val_text_bytes: Count | None = None  # of a validation text that is not the challenge's
    statistics: Statistics | None = None


def read(path: Path) -> tuple[Submission | None, list[Finding]]:
    """What a submission.json says, without what is not of the challenge's shape, and a finding for each such thing."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
        return None, [Finding("schema", path.name, "something else", f"a plain file of at most {LARGEST} bytes")]
    try:
        values = json.loads(path.read_bytes())
        quoted = _unquote(values, path.name)
        return Submission.model_validate(values), quoted
    except ValidationError as error:
        found = quoted + [_finding(path.name, fault) for fault in error.errors()]
        faulty = {fault["loc"][0] for fault in error.errors() if fault["loc"]}
    except (ValueError, RecursionError) as error:
        return None, [Finding("schema", path.name, one_line(str(error), 120), "JSON")]
    rest = {name: value for name, value in values.items() if name not in faulty} if isinstance(values, dict) else {}
    known = {"author": "-", "github_id": "-", "name": "-", "date": "0001-01-01", "val_bpb": NOT_SAID}
    return Submission.model_validate({**known, **rest}), found


def _finding(name: str, fault: ErrorDetails) -> Finding:
    place = ".".join(str(part) for part in fault["loc"]) or "the file"
    got = "nothing" if fault["type"] == "missing" else one_line(repr(fault["input"]), 80)
    return Finding("schema", name, f"{one_line(place, 80)} = {got}", one_line(fault["msg"], 120))


def _unquote(values: object, name: str, place: str = "") -> list[Finding]:
    """Turn numbers in quotes into numbers, where one is expected, with a finding for each: the checks go on with it."""
    found = []
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in list(items):
        where = f"{place}.{key}".lstrip(".")
        if isinstance(value, str) and (key in NUMBERS or place in LISTS) and QUOTED.fullmatch(value):
            values[key] = json.loads(value)  # type: ignore[index]
            found.append(Finding("schema", name, f"{one_line(where, 80)} = {value!r}", "a number without quotes"))
        elif isinstance(value, dict | list):
            found += _unquote(value, name, where)
    return found
