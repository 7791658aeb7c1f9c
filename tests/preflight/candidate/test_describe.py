"""Tests of a candidate's description: it is bounded before it enters a row, a table or a prompt."""

import json
import zlib

import pytest

from common import limits
from common.errors import Refused
from preflight.candidate.candidate import Candidate
from preflight.candidate.describe import LIMITS, describe, knobs_json
from preflight.candidate.launch import LaunchConfig
from preflight.sandbox.isolation.levels import available_levels

PLAIN = {"name": "width", "value": 3, "section": "model"}
DESCRIPTION = {
    "knobs": [PLAIN],
    "presets": ["tiny"],
    "techniques": {"wide": {"width": 4.0}},
    "parameters": {"total": 7},
}


def candidate(tmp_path, description: str) -> Candidate:
    """Return a program that prints the description and nothing else."""
    program = tmp_path / "train_gpt.py"
    program.write_text(f"import zlib\nprint(zlib.decompress({zlib.compress(description.encode())!r}).decode())\n")
    return Candidate(program, LaunchConfig("tiny", cap_bytes=1 << 20), available_levels()[0])


def many(count: int, **fields) -> str:
    """Return a description with so many knobs."""
    return json.dumps({"knobs": [{**PLAIN, "name": f"knob_{i}", **fields} for i in range(count)]})


def test_plain_knobs_of_every_kind_pass(tmp_path):
    values = {"a": True, "b": 3, "c": 0.5, "d": "text", "e": None}
    description = json.dumps({"knobs": [{"name": name, "value": value} for name, value in values.items()]})
    assert json.loads(knobs_json(candidate(tmp_path, description), tmp_path / "describe")[0]) == values
    most = candidate(tmp_path, many(limits.KNOBS))
    assert len(json.loads(knobs_json(most, tmp_path / "again")[0])) == limits.KNOBS


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        (many(28_000), "at most 1048576"),
        (many(2_000), "got 2000 knobs"),
        (json.dumps({"knobs": [PLAIN] * 600}), "got 600 knobs"),
        (many(limits.KNOBS, value="x" * 190), "at most 512 in 65536"),
        (json.dumps({"knobs": [{**PLAIN, "name": "x" * 61}]}), "name of 61 characters"),
        (many(1, value="x" * 201), "knob_0 in 201 characters"),
        (many(1, value=[1, 2]), "knob_0 as a list"),
        (many(1, value={"a": 1}), "knob_0 as a dict"),
        (many(1, value=10**4200), "knob_0 in 13953 bits"),
        (json.dumps({"knobs": [PLAIN], "doc": "x" * 2_000_000}), "at most 1048576"),
    ],
)
def test_an_oversized_description_is_the_candidates_failure(tmp_path, description, expected):
    with pytest.raises(Refused, match=expected) as refusal:
        knobs_json(candidate(tmp_path, description), tmp_path / "describe")
    assert refusal.value.verdict == "crash"
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    "more",
    [
        {"presets": [f"p{i}" for i in range(300)]},
        {"techniques": {f"t{i}": {"width": 1.0} for i in range(300)}},
        {"techniques": {"t1": {f"k{i}": 1.0 for i in range(300)}}},
        {"techniques": {"t1": {"width": "x" * 61}}},
        {"parameters": {"x" * 61: 1}},
        {"parameters": {f"p{i}": 1 for i in range(300)}},
        {"knobs": [PLAIN] * 600},
        {"presets": ["<b>"]},
    ],
)
def test_every_part_of_a_description_is_bounded(tmp_path, more):
    whole = describe(candidate(tmp_path, json.dumps(DESCRIPTION)), tmp_path / "describe", LIMITS, "--knobs")
    assert whole.techniques == {"wide": {"width": 4.0}}
    with pytest.raises(Refused, match="describe") as refusal:
        describe(candidate(tmp_path, json.dumps({**DESCRIPTION, **more})), tmp_path / "again", LIMITS, "--knobs")
    assert len(str(refusal.value)) <= 300
