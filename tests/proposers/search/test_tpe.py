"""Numeric search: ranges parsed from source, edits that apply, use of the history, the size forecast."""

import ast
import json
import subprocess
import sys
from dataclasses import replace

import pytest
from helpers.proposers import contexts
from helpers.tiny_profile import ROOT

from base.config import Config
from base.overrides import describe_knobs
from base.presets import PRESETS, RANGES
from common.errors import NoProposal
from common.state import State
from experiments.ledger.rows import COLUMNS, Row
from experiments.ledger.store import Ledger
from experiments.proposal.patch import apply, edits_between
from experiments.proposal.schema import Proposal
from experiments.repo.workspace import Workspace
from preflight.source.tree import PLAIN, Source, read_folder
from proposers.context import Context
from proposers.reply import read_proposal
from proposers.search.knobs import Range, declared, edited
from proposers.search.size_forecast import fits
from proposers.search.tpe import Search, distribution, rounded, scored, study_of

BASE = read_folder(ROOT)


def context(rows=(), tree=BASE, run="night") -> Context:
    return contexts.context(tree, rows, run=run)


def row(number: int, knobs: dict, val_bpb: float | None, state=State.DISCARDED) -> Row:
    return Row(**{**dict.fromkeys(COLUMNS), "number": number, "state": state, "title": f"trial {number}"}
               | {"knobs": json.dumps(knobs), "val_bpb": val_bpb, "detail": "", "hypothesis": ""})  # fmt: skip


def test_parsed_knobs_match_those_of_the_program():
    """Two readers of the same declarations agree: the parser of the harness, and base/ itself when it runs."""
    described = {knob["name"]: knob for knob in describe_knobs(PRESETS["pocket"]()) if knob["range"]}
    parsed = {knob.name: knob for knob in declared(BASE, "pocket")}
    assert parsed.keys() == described.keys()
    for name, knob in parsed.items():
        assert knob.value == described[name]["value"], name
        override = RANGES["pocket"].get(name)
        expected = vars(override) if override else described[name]["range"]
        assert vars(knob.range) == expected, name


def test_defaults_lie_in_their_ranges():
    for preset in PRESETS:
        for knob in declared(BASE, preset):
            assert distribution(knob)._contains(knob.value), (preset, knob)


def test_an_edit_changes_one_literal_and_nothing_else():
    for knob in declared(BASE, "pocket"):
        value = knob.value + 1
        tree = edited(BASE, {knob: value})
        (again,) = [other for other in declared(tree, "pocket") if other.name == knob.name]
        assert again.value == value
        others = [(k.name, k.value) for k in declared(tree, "pocket") if k.name != knob.name]
        assert others == [(k.name, k.value) for k in declared(BASE, "pocket") if k.name != knob.name]


def test_proposals_change_one_or_two_knobs_within_their_ranges():
    rows = [row(0, {}, 2.0, State.BASELINE)]
    for number in range(1, 30):
        proposal = read_proposal(Search().propose(context(rows)), context(rows))
        tree = apply(proposal, BASE)
        before, after = ({knob.name: knob for knob in declared(t, "pocket")} for t in (BASE, tree))
        changed = {name for name in before if before[name].value != after[name].value}
        assert 1 <= len(changed) <= 2
        assert not any(before[name].range.joint for name in changed)
        assert all(distribution(after[name])._contains(after[name].value) for name in changed)
        assert all(proposal.title.count(name) for name in changed)
        rows.append(row(number, {name: knob.value for name, knob in after.items()}, 2.0 + 0.01 * number))


def test_restart_repeats_the_proposal_and_no_configuration_comes_twice():
    rows, seen = [row(0, {}, 2.0, State.BASELINE)], set()
    for number in range(1, 20):
        text = Search().propose(context(rows))
        assert text == Search().propose(context(rows))
        tree = apply(Proposal.parse(text), BASE)
        values = {knob.name: knob.value for knob in declared(tree, "pocket") if not knob.range.joint}
        assert tuple(values.items()) not in seen
        seen.add(tuple(values.items()))
        rows.append(row(number, values, 2.0))


def test_history_guides_the_search():
    """The score depends on one knob: draws that know 60 trials come closer to its best value than random ones."""
    knobs = [knob for knob in declared(BASE, "pocket") if knob.name == "matrix_lr"]
    (knob,) = knobs
    distances = {"informed": [], "random": []}
    for seed in range(20):
        history = [({"matrix_lr": value}, abs(value - 0.05)) for value in (0.005 + 0.195 * i / 60 for i in range(60))]
        for name in distances:
            study = study_of(knobs, history, seed, name == "informed", False)
            distances[name].append(abs(study.ask({"matrix_lr": distribution(knob)}).params["matrix_lr"] - 0.05))
    assert sum(distances["informed"]) < 0.5 * sum(distances["random"])


def test_trial_that_a_limit_ended_scores_worse_than_all():
    values = {knob.name: knob.value for knob in declared(BASE, "pocket")}
    rows = [row(0, values, 2.0, State.BASELINE), row(1, values, 2.2), row(2, values, None, State.OVERSIZE)]
    rows.append(row(3, values, None, State.INFRA))
    assert [(r.number, round(value, 6)) for r, value in scored(rows)] == [(0, 2.0), (1, 2.2), (2, 2.3)]


def test_scores_of_different_seeds_are_on_one_scale():
    """The seeds of a kept trial may be unlucky: its paired difference counts, and its children's difference to it."""
    commits = {"commit_id": "b" * 40, "parent": "b" * 40}
    rows = [replace(row(0, {}, 2.0, State.BASELINE), **commits)]
    kept = {"commit_id": "c" * 40, "parent": "b" * 40, "delta_bpb": -0.1}
    rows.append(replace(row(1, {}, 1.95, State.KEPT), **kept))
    rows.append(replace(row(2, {}, 1.94, State.DISCARDED), parent="c" * 40, commit_id="d" * 40, delta_bpb=0.02))
    assert [round(value, 6) for _, value in scored(rows)] == [2.0, 1.9, 1.92]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n", "expected knobs with a Range, got none"),
        ("class A:\n    x: int = knob(1, '', Range(3, 1))\n", "Range"),
        ("class A:\n    x: int = knob(1, '', Range(evil(), 1))\n", "expected knobs"),
        ("class A(:\n", "expected knobs"),
    ],
)
def test_unreadable_config_is_reported_in_one_line(source, message):
    other = dict.fromkeys(["base/evaluate/knobs.py"], Source(PLAIN, b""))
    with pytest.raises(NoProposal, match=message):
        declared({**BASE, **other, "base/config.py": Source(PLAIN, source.encode())}, "pocket")


def test_knobs_of_evaluation_are_searched_too():
    temperature = next(knob for knob in declared(BASE, "pocket") if knob.name == "temperature")
    assert (temperature.kind, temperature.place.path) == ("evaluation", "base/evaluate/knobs.py")
    text = edited(BASE, {temperature: 0.97})["base/evaluate/knobs.py"].content.decode()
    assert "temperature: float = knob(0.97, " in text


def test_knob_that_a_proposal_added_is_searched_too():
    text = BASE["base/config.py"].content.decode()
    line = '    softcap: float = knob(30.0, "logits become c*tanh(z/c); 0 = uncapped", Range(8.0, 60.0, log=True))\n'
    new = text.replace(line, line + '    gate: float = knob(0.25, "of the new idea", Range(0.0, 1.0))\n')
    knobs = {knob.name: knob for knob in declared({**BASE, "base/config.py": Source(PLAIN, new.encode())}, "pocket")}
    assert knobs["gate"].range == Range(0.0, 1.0)


def test_ranges_are_literals():
    """The harness parses ranges without running anything, so they may contain only literals."""
    for path in ("base/config.py", "base/presets.py"):
        for node in ast.walk(ast.parse(BASE[path].content)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Range":
                for value in [*node.args, *(keyword.value for keyword in node.keywords)]:
                    ast.literal_eval(value)
    assert Config()


def test_fits_uses_the_upper_end():
    assert fits(lambda _: (90, 100), BASE, 100)
    assert not fits(lambda _: (90, 101), BASE, 100)


@pytest.mark.parametrize("declaration", ["Range(0.0, 1.0, step=0)", "Range('a', 'b')", "Range(0.0, 10.0, step='x')"])
def test_invalid_range_is_left_out(declaration):
    text = BASE["base/config.py"].content.decode()
    new = text.replace(
        '    softcap: float = knob(30.0, "logits',
        f'    gate: float = knob(0.5, "", {declaration})\n    softcap: float = knob(30.0, "logits',
    )
    assert new != text
    tree = {**BASE, "base/config.py": Source(PLAIN, new.encode())}
    rows = [row(0, {"softcap": 10**400, "beta1": "x"}, 2.0, State.BASELINE)]
    assert "gate" not in Search().propose(context(rows, tree))


def test_rounding_stays_in_the_range():
    (knob,) = [knob for knob in declared(BASE, "baseline") if knob.name == "ema_decay"]
    assert rounded(knob, 0.99951) == 0.99951 or rounded(knob, 0.99951) <= knob.range.high
    assert rounded(knob, 0.9995) == 0.9995
    assert rounded(knob, 0.912345) == 0.912


@pytest.mark.torch
@pytest.mark.slow
def test_joint_moves_up_to_six_knobs_and_forecasts_bytes(tmp_path):
    """Through generate_next.py as the loop calls it: with relative paths, and a run whose baseline is in the ledger."""
    root = tmp_path / "repo"
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(root)], check=True)
    workspace, ledger = Workspace(root, "night"), Ledger(root / "trials" / "night" / "ledger.sqlite")
    workspace.set_best(workspace.head(), None)
    ledger.set_fact("profile", "pocket")
    changed = set()
    for number in range(3):
        texts = dict.fromkeys(("title", "kind", "hypothesis", "proposal", "profile", "tier", "sandbox_level"), "")
        begun = ledger.begin(**texts, parent=workspace.head(), trials_can_read_text=False)
        ledger.settle(begun, State.DISCARDED if number else State.BASELINE, val_bpb=2.0, artifact_bytes=192_815)
        command = [
            sys.executable,
            str(ROOT / "generate_next.py"),
            "--root",
            ".",
            "--run",
            "night",
            "--proposer",
            "search",
        ]
        done = subprocess.run([*command, "--joint"], cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        before = workspace.read(workspace.best())
        pairs = zip(
            declared(before, "pocket"), declared(apply(Proposal.parse(done.stdout), before), "pocket"), strict=True
        )
        changed |= {(number, a.name, a.range.joint) for a, b in pairs if a.value != b.value}
    ledger.close()
    assert any(joint for _, _, joint in changed)
    assert max(sum(n == number for n, _, _ in changed) for number in range(3)) > 2


def test_edits_between_trees_are_exact():
    """Applying the edits to one tree gives the other."""
    text = "".join(f"line {i % 7}\n" for i in range(60))
    changes = [
        text.replace("line 3\n", "line three\n"),
        "new first\n" + text,
        text + "no newline at the end",
        text[: len(text) // 2],
        text.replace("line 1\n", "", 1).replace("line 5\n", "other\n", 2),
        "",
    ]
    for changed in changes:
        before, after = ({"base/a.py": Source(PLAIN, body.encode())} for body in (text, changed))
        fields = {"title": "t", "hypothesis": "", "class": "schedule", "parent": "a" * 40, "expected_delta_bpb": 0.0}
        proposal = Proposal.parse(json.dumps({**fields, "edits": edits_between(before, after)}))
        assert apply(proposal, before) == after
