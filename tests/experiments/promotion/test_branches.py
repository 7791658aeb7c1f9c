"""Tests of `finalize` and `adopt`: a run's kept changes in your own branch and checkout."""

from pathlib import Path

import pytest
from helpers.tiny_profile import MORE_TEXT, git

from common.errors import CaddieError
from experiments.promotion import branches, golden
from experiments.promotion.branches import adopt, finalize
from experiments.repo.checkout import Checkout
from preflight.sandbox.job import Limits


def test_finalize_makes_one_clean_commit_per_keep(kept_run):
    root = kept_run.workspace.root
    (root / "notes.txt").write_text("the person's own\n")
    git(root, "add", "notes.txt")
    git(root, "commit", "--quiet", "--message=meanwhile")
    workspace = Checkout(root, "night")
    rows = finalize(workspace, kept_run.ledger, "HEAD", "finalize/night")
    assert [row.number for row in rows] == [1]
    assert git(root, "log", "--format=%s", "HEAD..finalize/night") == "more text"
    assert git(root, "diff", "--name-only", "HEAD", "finalize/night") == "base/config.py"
    assert git(root, "show", "finalize/night:notes.txt") == "the person's own"
    assert git(root, "show", "finalize/night:base/config.py") == git(
        root, "show", f"{rows[0].commit_id}:base/config.py"
    )
    git(root, "merge", "--quiet", "--ff-only", "finalize/night")
    with pytest.raises(CaddieError, match="in HEAD already"):
        finalize(workspace, kept_run.ledger, "HEAD", "another")
    change_the_same_line(root)
    with pytest.raises(CaddieError, match="does not apply"):
        finalize(workspace, kept_run.ledger, "HEAD", "third")


def change_the_same_line(root) -> None:
    """Undo the last commit and commit another change of the line that the kept trial changed."""
    git(root, "reset", "--quiet", "--hard", "HEAD~1")
    path = root / "base" / "config.py"
    path.write_text(path.read_text().replace('"iterations": 4', '"iterations": 5'))
    git(root, "commit", "--quiet", "--all", "--message=the same line")


def test_git_log_alone_shows_the_history_of_a_run(kept_run):
    history = git(kept_run.workspace.root, "log", "experiments/night/best", "-1")
    for part in ("trial 0001: more text", "> because", "fresh seeds", "Val-BPB:", "Verdict: kept"):
        assert part in history


def test_adopt_changes_only_base_in_the_checkout(kept_run):
    root = kept_run.workspace.root
    (root / "staged.txt").write_text("mine\n")
    git(root, "add", "staged.txt")
    (root / ".git" / "info" / "exclude").write_text("__pycache__/\n")
    (root / "base" / "__pycache__").mkdir()
    (root / "base" / "__pycache__" / "config.pyc").write_bytes(b"x")
    adopt(Checkout(root, "night"), kept_run.ledger, 1)
    assert MORE_TEXT[2] in (root / "base" / "config.py").read_text()
    assert git(root, "show", "--name-only", "--format=", "HEAD") == "base/config.py"
    assert git(root, "status", "--porcelain") == "A  staged.txt"
    with pytest.raises(CaddieError, match="already"):
        adopt(Checkout(root, "night"), kept_run.ledger, 1)
    (root / "base" / "config.py").write_text("mine\n")
    with pytest.raises(CaddieError, match="uncommitted changes"):
        adopt(Checkout(root, "night"), kept_run.ledger, 1)


def with_golden(run) -> Path:
    """Commit golden losses of the only preset and return the repository."""
    root = run.workspace.root
    (root / golden.FOLDER).mkdir(parents=True)
    (root / golden.FOLDER / "tiny.txt").write_text("1 9.0\n")
    git(root, "add", golden.FOLDER)
    git(root, "commit", "--quiet", "--message=golden")
    return root


def test_adopt_updates_the_golden_losses_or_says_why_not(kept_run, monkeypatch):
    root = with_golden(kept_run)
    with monkeypatch.context() as bare:
        bare.setattr(branches, "available_levels", lambda: ("none",))
        _, note = adopt(Checkout(root, "night"), kept_run.ledger, 1)
    assert "no sandbox works here" in note
    assert (root / golden.FOLDER / "tiny.txt").read_text() == "1 9.0\n"
    git(root, "reset", "--quiet", "--hard", "HEAD~1")
    assert adopt(Checkout(root, "night"), kept_run.ledger, 1)[1] == ""
    assert (root / golden.FOLDER / "tiny.txt").read_text() == "1 1.0\n"
    changed = git(root, "show", "--name-only", "--format=", "HEAD").split()
    assert changed == ["base/config.py", f"{golden.FOLDER}/tiny.txt"]


def test_a_failed_adopt_leaves_the_checkout_unchanged(kept_run, monkeypatch):
    root = with_golden(kept_run)
    monkeypatch.setattr(golden, "LIMITS", Limits(wall_seconds=60, cpu_seconds=60, setup_seconds=1e-3))
    before = (root / "base" / "config.py").read_text()
    with pytest.raises(CaddieError, match="golden losses could not be updated: .* seconds"):
        adopt(Checkout(root, "night"), kept_run.ledger, 1)
    assert (root / "base" / "config.py").read_text() == before
    assert git(root, "status", "--porcelain", "base", golden.FOLDER) == ""
    with pytest.raises(CaddieError, match="is baseline, expected a kept one"):
        adopt(Checkout(root, "night"), kept_run.ledger, 0)
