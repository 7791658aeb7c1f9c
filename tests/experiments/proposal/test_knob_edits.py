"""Knobs set by name become edits of base/ that the program resolves to just those values."""

import json
import subprocess
import sys

import pytest
from helpers.tiny_profile import ROOT

from common.errors import CaddieError
from experiments.proposal.knob_edits import with_values
from preflight.source.tree import read_folder

TREE = read_folder(ROOT)


def resolved(tree, preset, folder):
    """What `describe` says of every knob of a tree."""
    for path, source in tree.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(source.content)
    command = [sys.executable, "-m", "base", "describe", "--preset", preset, "--knobs"]
    found = json.loads(subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout)
    return {knob["name"]: knob["value"] for knob in found["knobs"]}


@pytest.mark.parametrize(
    ("preset", "values"),
    [
        ("pocket", {"eval_stride": "32", "ngram_order": "7", "ngram_smoothing": "witten_bell", "temperature": "0.98"}),
        ("pocket", {"eval_documents": "1", "num_layers": "4", "agreement": "token"}),
        ("seed_850", {"ttt_lr": "0.01", "ngram_weight_high": "0.3"}),
    ],
)
def test_values_are_those_that_the_program_resolves(preset, values, tmp_path):
    changed = with_values(TREE, preset, values)
    before, after = resolved(TREE, preset, tmp_path / "before"), resolved(changed, preset, tmp_path / "after")
    different = {name: after[name] for name in after if after[name] != before[name]}
    expected = {
        name: type(before[name])(json.loads(text) if text[0].isdigit() else text) for name, text in values.items()
    }
    assert different == expected
    assert sum(changed[path] != TREE[path] for path in TREE) <= 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"no_such_knob": "1"}, "no knob no_such_knob in base/config.py or base/evaluate/knobs.py"),
        ({"eval_stride": "many"}, "eval_stride: expected int, got 'many'"),
        ({"eval_documents": "maybe"}, "eval_documents: expected bool, got 'maybe'"),
    ],
)
def test_what_cannot_be_set_is_named(values, message):
    with pytest.raises(CaddieError, match=message):
        with_values(TREE, "pocket", values)
