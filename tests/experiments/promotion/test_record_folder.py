"""Tests of the record folder: hostile text in its README and logs, and the file that it ships."""

import io
import re
import subprocess
import sys
from datetime import date

import pytest
from helpers.tiny_profile import proposal

from common.errors import CaddieError
from experiments.cli.branches import _submitter
from experiments.promotion import record_folder
from experiments.promotion.promote import PromotionRequest, promote
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
    promoted = promote(kept_run, row.number, PromotionRequest(2, non_record=True), lambda _: None, TODAY)
    folder = kept_run.workspace.root / record_folder.write(kept_run, promoted, ME, TODAY)
    assert not check.check(folder).findings
    text = (folder / "README.md").read_text()
    assert "[link](http" not in text
    assert not re.search(r"(?<!\\)<b>", text)
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


@pytest.mark.parametrize(
    "text",
    ["matrix_lr 0.02 to 0.03 (8x, see base/optim/muon.py)", "A + B: 5-bit {rows} at 50 %!", "2e-5 -> 1e-5, a = b"],
)
def test_ordinary_text_in_the_readme_has_no_escapes(text):
    assert record_folder.markdown(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](http://x)", r"\[a\](http:\//x)"),
        ("_a_ *b* `c` ~d~", r"\_a\_ \*b\* \`c\` \~d\~"),
        ("<b> &lt; & @me #12 | $x$ www.x.org", r"\<b> \&lt; & \@me \#12 \| \$x\$ www\.x.org"),
        ("# title\n- item", r"\# title - item"),
    ],
)
def test_what_github_would_render_is_escaped(text, expected):
    assert record_folder.markdown(text) == expected


@pytest.mark.parametrize(
    ("settings", "github_id"),
    [
        ({"user.email": "12345+octo-cat@users.noreply.github.com"}, "octo-cat"),
        ({"user.email": "octocat@users.noreply.github.com"}, "octocat"),
        ({"github.user": "someone", "user.email": "a@b.c"}, "someone"),
    ],
)
def test_the_submitters_github_id_is_read_from_git(settings, github_id):
    assert _submitter(lambda name: settings.get(name, ""), "", "") == Author(github_id, github_id)
    assert _submitter(lambda name: settings.get(name, ""), "A", "given") == Author("A", "given")


def test_without_a_github_id_or_a_terminal_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(CaddieError, match="expected your GitHub id, got none: --github-id"):
        _submitter(lambda _: "", "A", "")
