"""What a candidate says of itself is bounded before it stands in a row, a table or a prompt."""

import json
import zlib

import pytest

from data.errors import Refused
from experiments.account import described
from preflight import limits, size
from preflight.phases import Candidate, Target
from preflight.sandbox.isolation import available_levels

PLAIN = {"name": "width", "value": 3, "section": "model"}
ACCOUNT = {"knobs": [PLAIN], "presets": ["tiny"], "techniques": {"wide": {"width": 4.0}}, "parameters": {"total": 7}}


def candidate(tmp_path, said: str) -> Candidate:
    """A program whose whole description is `said`."""
    program = tmp_path / "train_gpt.py"
    program.write_text(f"import zlib\nprint(zlib.decompress({zlib.compress(said.encode())!r}).decode())\n")
    return Candidate(program, Target("tiny", cap_bytes=1 << 20), available_levels()[0])


def many(count: int, **fields) -> str:
    return json.dumps({"knobs": [{**PLAIN, "name": f"knob_{i}", **fields} for i in range(count)]})


def test_plain_knobs_of_every_kind_pass(tmp_path):
    values = {"a": True, "b": 3, "c": 0.5, "d": "text", "e": None}
    said = json.dumps({"knobs": [{"name": name, "value": value} for name, value in values.items()]})
    assert json.loads(size.knobs(candidate(tmp_path, said), tmp_path / "describe")) == values
    most = candidate(tmp_path, many(limits.KNOBS))
    assert len(json.loads(size.knobs(most, tmp_path / "again"))) == limits.KNOBS


@pytest.mark.parametrize(
    ("said", "expected"),
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
def test_what_is_too_much_is_the_candidates_own_failure(tmp_path, said, expected):
    with pytest.raises(Refused, match=expected) as refusal:
        size.knobs(candidate(tmp_path, said), tmp_path / "describe")
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
def test_an_account_is_bounded_in_every_part(tmp_path, more):
    whole = described(candidate(tmp_path, json.dumps(ACCOUNT)), tmp_path / "describe", size.LIMITS, "--knobs")
    assert whole.techniques == {"wide": {"width": 4.0}}
    with pytest.raises(Refused, match="describe") as refusal:
        described(candidate(tmp_path, json.dumps({**ACCOUNT, **more})), tmp_path / "again", size.LIMITS, "--knobs")
    assert len(str(refusal.value)) <= 300
