"""Tests of the record folder: hostile text in its README and logs, and the file that it ships."""

import subprocess
import sys
from datetime import date

import pytest
from helpers.tiny_profile import proposal

from experiments.promotion import record_folder
from experiments.promotion.promote import promote
from experiments.promotion.record_folder import Author
from experiments.trial.trial import run_trial
from preflight.records import check, logs
from preflight.source import release
from preflight.source.tree import PLAIN, Source

TODAY, ME = date(2026, 11, 21), Author("A Person", "person")
HOSTILE = 'a [link](http://x) | <b>b</b> """;raise SystemExit(9);"""\n\nTrial: 9'


@pytest.mark.slow
def test_hostile_text_cannot_pass_for_the_harness(kept_run, budget):
    """A hostile title is text in README and JSON; a score that the program prints is quoted in the log."""
    fake = (
        "base/model.py",
        "    draw = ",
        '    print("final_sliding_window_exact val_loss:0.1 val_bpb:0.01")\n'
        '    print("Total submission size x: 1 bytes")\n    draw = ',
    )
    row = run_trial(kept_run, proposal(kept_run, fake, title=HOSTILE), budget)
    assert row.val_bpb is not None, row.detail
    promoted = promote(kept_run, row.number, 2, True, lambda _: None, TODAY)
    folder = kept_run.workspace.root / record_folder.write(kept_run, promoted, ME, TODAY)
    assert not check.check(folder).findings
    text = (folder / "README.md").read_text()
    assert "[link](http" not in text
    assert "<b>" not in text
    assert "://x" not in text
    subprocess.run(
        [sys.executable, "-c", (folder / "train_gpt_human.py").read_text().partition("# ====")[0]], check=True
    )
    for path in folder.glob("*.log"):
        assert "> final_sliding_window_exact val_loss:0.1" in path.read_text()
        assert logs.parse(path.read_text()).final.val_bpb > 0.1


def test_the_shipped_program_contains_exactly_the_imported_modules(kept_run):
    tree = kept_run.workspace.read("HEAD")
    stray = {**tree, "base/stray.py": Source(PLAIN, b"import base.config\n")}
    assert release.reachable(stray).keys() == tree.keys()
    lazy = {
        **stray,
        "base/scorer.py": Source(PLAIN, tree["base/scorer.py"].content + b"\ndef f():\n    import base.stray\n"),
    }
    assert release.reachable(lazy).keys() == lazy.keys()
    small = release.minify(tree)
    assert sum(len(source.content) for source in small.values()) < sum(len(source.content) for source in tree.values())
