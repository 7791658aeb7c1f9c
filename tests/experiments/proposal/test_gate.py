"""The gates of a proposal: `check` runs them all, mistakes of form use up no trial, and repeats are recognized."""

import json
import subprocess
import sys

import pytest
from helpers.tiny_profile import ROOT, git

from common.errors import NoProposal
from common.state import State
from experiments.loop.controller import MAX_BAD_DIFFS_IN_A_ROW
from experiments.proposal.options import ProposerOptions
from experiments.proposal.parts import edits_of
from proposers import make_proposer
from proposers.context import gather

EDIT = {"path": "base/config.py", "search": '"smoothing": 0.5', "replace": '"smoothing": 0.9'}
FIELDS = {"title": "t", "hypothesis": "h", "class": "schedule", "expected_delta_bpb": -0.1}


def written(folder, name, **changes):
    file = folder / name
    file.write_text(json.dumps({**FIELDS, "edits": [EDIT], **changes}))
    return file


def check(root, file, run="night"):
    command = [sys.executable, "-m", "experiments", "check", str(file), "--run", run, "--root", str(root)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_check_runs_every_gate(run, tmp_path):
    root = run.workspace.root
    done = check(root, written(tmp_path, "good.json"))
    assert done.returncode == 0, done.stdout
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["ok", "form"], ["ok", "edits"], ["ok", "change"], ["ok", "static"], ["ok", "new"],
    ]  # fmt: skip
    assert "against the incumbent of run night" in done.stdout
    assert "against HEAD" in check(root, tmp_path / "good.json", run="another").stdout
    assert not (root / "trials" / "another").exists()
    spaced = {**EDIT, "search": EDIT["search"].replace(" ", "\u00a0")}
    assert (
        "applied although non-breaking spaces differ" in check(root, written(tmp_path, "s.json", edits=[spaced])).stdout
    )


@pytest.mark.parametrize(
    ("changes", "gates", "words"),
    [
        ({"class": "magic"}, 0, "class: Input should be"),
        ({"parent": "0" * 40}, 0, "or leave parent out"),
        ({"edits": [{**EDIT, "search": "nothing"}]}, 1, "edit 1: base/config.py: search text matches 0 times"),
        ({"edits": [{"path": "preflight/x.py", "content": "x"}]}, 1, "outside base/"),
        ({"edits": [{**EDIT, "replace": EDIT["search"]}]}, 2, "change nothing"),
        ({"edits": [{**EDIT, "replace": EDIT["search"] + " +"}]}, 3, "Python that parses"),
        ({"edits": [{"path": "base/a.py", "content": "import socket\nsocket.socket()\n"}]}, 3, "socket"),
    ],
)
def test_check_names_the_gate_that_refuses(run, tmp_path, changes, gates, words):
    done = check(run.workspace.root, written(tmp_path, "p.json", **changes))
    assert done.returncode == 2
    *passed, last = done.stdout.splitlines()
    assert len(passed) == gates
    assert words in last


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"title": "a",\n "edits": [}', "line 2 column 12"),
        ('{"title": "é"}'.encode("latin-1"), "expected UTF-8, found byte 0xe9"),
        (b"[]", "found list"),
        (b"\xef\xbb\xbf{}", "title: Field required"),
    ],
)
def test_check_names_the_place_of_a_mistake_in_a_file(run, tmp_path, content, words):
    (tmp_path / "p.json").write_bytes(content)
    done = check(run.workspace.root, tmp_path / "p.json")
    assert done.returncode == 2
    assert words in done.stdout


def start(root, script, trials):
    command = [sys.executable, "-m", "experiments", "run", "--run", "night", "--profile", "tiny", "--root", str(root)]
    command += ["--proposer", "scripted", "--script", str(script), "--trials", str(trials)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.mark.slow
def test_the_same_title_with_other_edits_is_another_proposal(run, tmp_path):
    """A mistake of form uses up none of the trials that were ordered."""
    script = tmp_path / "script"
    script.mkdir()
    replayed = make_proposer("scripted", ProposerOptions(script=script))
    written(script, "1.json", edits=[{**EDIT, "search": "nothing"}])
    written(script, "2.json", title="other", edits=[{**EDIT, "search": "nothing"}])
    (script / "3.json").write_text("no JSON at all")
    (script / "4.json").write_text("nor here")
    written(script, "5.json")
    written(script, "6.json", edits=[{**EDIT, "replace": '"smoothing": 0.8'}])
    run.close()
    done = start(run.workspace.root, script, 2)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = gather(run.workspace.root, "night").rows[1:]
    assert [row.state for row in rows[:3]] == [State.BAD_DIFF] * 3
    assert [row.title for row in rows[3:]] == ["t", "t"]
    assert all(row.state.counts_as_trial for row in rows[3:])
    with pytest.raises(NoProposal, match="all 6 proposals"):
        replayed.propose(gather(run.workspace.root, "night"))


def test_a_series_of_mistakes_of_form_stops_the_run_for_the_user(run, tmp_path):
    script = tmp_path / "script"
    script.mkdir()
    for number in range(MAX_BAD_DIFFS_IN_A_ROW + 5):
        written(script, f"{number:02d}.json", edits=[{**EDIT, "search": f"nothing {number}"}])
    run.close()
    done = start(run.workspace.root, script, 1)
    assert done.returncode == 2
    assert f"{MAX_BAD_DIFFS_IN_A_ROW} proposals in a row could not be read or applied, the last: edit 1" in done.stdout
    assert len(gather(run.workspace.root, "night").rows) == 1 + MAX_BAD_DIFFS_IN_A_ROW
    assert not git(run.workspace.root, "status", "--porcelain")


def test_edits_have_a_canonical_form():
    full = json.dumps({"edits": [{"path": "a", "search": "b", "replace": "c", "content": None}]})
    short = json.dumps({"title": "x", "edits": [{"replace": "c", "search": "b", "path": "a"}]})
    assert edits_of(full) == edits_of(short) != ""
    for text in ("", "[]", '{"edits": []}', '{"edits": 3}', "x" * 10):
        assert edits_of(text) == ""
