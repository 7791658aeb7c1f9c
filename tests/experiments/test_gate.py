"""`check`, mistakes of form, and what counts as the same proposal."""

import json
import subprocess
import sys

import pytest
from support import ROOT, git

from data.errors import NoProposal
from data.state import State
from experiments.loop import MISREAD_IN_A_ROW
from experiments.proposal import edits_of
from proposers import Options, proposer
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


def test_check_runs_every_gate(bench, tmp_path):
    root = bench.workspace.root
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
        "applied though non-breaking spaces differ" in check(root, written(tmp_path, "s.json", edits=[spaced])).stdout
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
def test_check_names_the_gate_that_is_shut(bench, tmp_path, changes, gates, words):
    done = check(bench.workspace.root, written(tmp_path, "p.json", **changes))
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
def test_check_reads_a_file_or_says_where_not(bench, tmp_path, content, words):
    (tmp_path / "p.json").write_bytes(content)
    done = check(bench.workspace.root, tmp_path / "p.json")
    assert done.returncode == 2
    assert words in done.stdout


def run(root, script, trials):
    command = [sys.executable, "-m", "experiments", "run", "--run", "night", "--profile", "tiny", "--root", str(root)]
    command += ["--proposer", "scripted", "--script", str(script), "--trials", str(trials)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_the_same_title_with_other_edits_is_another_proposal(bench, tmp_path):
    """And a mistake of form uses up none of the trials that were ordered."""
    script = tmp_path / "script"
    script.mkdir()
    made = proposer("scripted", Options(script=script))
    written(script, "1.json", edits=[{**EDIT, "search": "nothing"}])
    written(script, "2.json", title="other", edits=[{**EDIT, "search": "nothing"}])
    (script / "3.json").write_text("no JSON at all")
    (script / "4.json").write_text("nor here")
    written(script, "5.json")
    written(script, "6.json", edits=[{**EDIT, "replace": '"smoothing": 0.8'}])
    bench.close()
    done = run(bench.workspace.root, script, 2)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = gather(bench.workspace.root, "night").rows[1:]
    assert [row.state for row in rows[:3]] == [State.BAD_DIFF] * 3
    assert [row.title for row in rows[3:]] == ["t", "t"]
    assert all(row.state.uses_up for row in rows[3:])
    with pytest.raises(NoProposal, match="all 6 proposals"):
        made.propose(gather(bench.workspace.root, "night"))


def test_nothing_but_mistakes_of_form_ends_the_run_for_a_person(bench, tmp_path):
    script = tmp_path / "script"
    script.mkdir()
    for number in range(MISREAD_IN_A_ROW + 5):
        written(script, f"{number:02d}.json", edits=[{**EDIT, "search": f"nothing {number}"}])
    bench.close()
    done = run(bench.workspace.root, script, 1)
    assert done.returncode == 2
    assert f"{MISREAD_IN_A_ROW} proposals in a row could not be read or applied, the last: edit 1" in done.stdout
    assert len(gather(bench.workspace.root, "night").rows) == 1 + MISREAD_IN_A_ROW
    assert not git(bench.workspace.root, "status", "--porcelain")


def test_edits_have_one_form():
    one = json.dumps({"edits": [{"path": "a", "search": "b", "replace": "c", "content": None}]})
    other = json.dumps({"title": "x", "edits": [{"replace": "c", "search": "b", "path": "a"}]})
    assert edits_of(one) == edits_of(other) != ""
    for text in ("", "[]", '{"edits": []}', '{"edits": 3}', "x" * 10):
        assert edits_of(text) == ""
