"""submission.json: the fields that the challenge's records have in common, and their types (rules.md section 9)."""

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from preflight.finding import Finding
from preflight.text import one_line

LARGEST = 1 << 20  # bytes of the file
NOT_SAID = 1e9  # stands for a val_bpb that the file lacks
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0, le=1 << 40, strict=True)]
Text = Annotated[str, Field(min_length=1)]


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
    date: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d")]
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
        return Submission.model_validate(values), []
    except ValidationError as error:
        found = [_finding(path.name, fault) for fault in error.errors()]
        faulty = {fault["loc"][0] for fault in error.errors() if fault["loc"]}
    except (ValueError, RecursionError) as error:
        return None, [Finding("schema", path.name, one_line(str(error), 120), "JSON")]
    rest = {name: value for name, value in values.items() if name not in faulty} if isinstance(values, dict) else {}
    known = {"author": "-", "github_id": "-", "name": "-", "date": "0000-00-00", "val_bpb": NOT_SAID}
    return Submission.model_validate({**known, **rest}), found


def _finding(name: str, fault: ErrorDetails) -> Finding:
    place = ".".join(str(part) for part in fault["loc"]) or "the file"
    got = "nothing" if fault["type"] == "missing" else one_line(repr(fault["input"]), 80)
    return Finding("schema", name, f"{one_line(place, 80)} = {got}", one_line(fault["msg"], 120))
