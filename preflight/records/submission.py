"""Schema of submission.json: the fields that the challenge's records share, and their types (rules.md section 9)."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from common.text import one_line
from preflight.finding import Finding

MAX_BYTES = 1 << 20
MISSING_BPB = 1e9  # placeholder for a val_bpb that the file lacks
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0, le=1 << 40, strict=True)]
NUMBERS = {  # fields in which a quoted number is unquoted, with a finding
    *("val_bpb", "val_loss", "artifact_bytes", "steps", "train_time_s", "eval_time_s", "val_bpb_std", "bytes_total"),
    *("bytes_code", "val_text_bytes", "margin_bpb", "p_value"),
}
LISTS = ("seeds", "statistics.reference_val_bpb")
QUOTED = re.compile(r"-?(0|[1-9]\d{0,18})(\.\d{1,18})?(e[+-]?\d{1,3})?")
Text = Annotated[str, Field(min_length=1)]


def iso_date(text: str) -> str:
    """Validate a date, or a date and time, in ISO 8601."""
    datetime.fromisoformat(text)
    return text


class SeedResult(BaseModel):
    """One seed's numbers; other fields are allowed."""

    model_config = ConfigDict(extra="allow")

    val_bpb: Positive
    val_loss: Positive | None = None
    artifact_bytes: Count | None = None
    steps: Count | None = None
    train_time_s: Positive | None = None
    eval_time_s: Positive | None = None


class Statistics(BaseModel):
    """The test behind a claim, so that anyone can repeat it: one-sided Welch on bits per byte, lower is better."""

    reference: Text
    reference_val_bpb: Annotated[list[Positive], Field(min_length=1)]  # a single value is taken as exact
    margin_bpb: Annotated[float, Field(ge=0, le=1e9)]
    p_value: Annotated[float, Field(ge=0, le=1)]


class Submission(BaseModel):
    """The whole file; the required fields are those that nearly every official record has."""

    model_config = ConfigDict(extra="allow")

    author: Text
    github_id: Text
    name: Text
    date: Annotated[str, AfterValidator(iso_date)]
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
    """Read a submission.json without the fields that do not fit the schema, and return a finding for each of those."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_BYTES:
        return None, [Finding("schema", path.name, "something else", f"a plain file of at most {MAX_BYTES} bytes")]
    try:
        values = json.loads(path.read_bytes())
        quoted = _unquote(values, path.name)
        return Submission.model_validate(values), quoted
    except ValidationError as error:
        findings = quoted + [_finding(path.name, fault) for fault in error.errors()]
        faulty = {fault["loc"][0] for fault in error.errors() if fault["loc"]}
    except (ValueError, RecursionError) as error:
        return None, [Finding("schema", path.name, one_line(str(error), 120), "JSON")]
    rest = {name: value for name, value in values.items() if name not in faulty} if isinstance(values, dict) else {}
    placeholders = {"author": "-", "github_id": "-", "name": "-", "date": "0001-01-01", "val_bpb": MISSING_BPB}
    return Submission.model_validate({**placeholders, **rest}), findings


def _finding(name: str, fault: ErrorDetails) -> Finding:
    field = ".".join(str(part) for part in fault["loc"]) or "the file"
    got = "nothing" if fault["type"] == "missing" else one_line(repr(fault["input"]), 80)
    return Finding("schema", name, f"{one_line(field, 80)} = {got}", one_line(fault["msg"], 120))


def _unquote(values: object, name: str, parent: str = "") -> list[Finding]:
    """Replace quoted numbers by numbers, in place, with a finding for each; the checks continue with the number."""
    findings = []
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in list(items):
        location = f"{parent}.{key}".lstrip(".")
        if isinstance(value, str) and (key in NUMBERS or parent in LISTS) and QUOTED.fullmatch(value):
            values[key] = json.loads(value)  # type: ignore[index]
            findings.append(Finding("schema", name, f"{one_line(location, 80)} = {value!r}", "a number without quotes"))
        elif isinstance(value, dict | list):
            findings += _unquote(value, name, location)
    return findings
