"""From a winner to a record folder, a clean branch, the checkout: what is written, what is refused, what stays."""

import csv
import dataclasses
import io
import json
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from support import MORE_TEXT, TINY, git, proposal
from typer.testing import CliRunner

from data.errors import CaddieError, Refused
from data.state import State
from experiments import after_cli, branches, cli, golden, record
from experiments.branches import adopt, finalize
from experiments.checkout import Checkout
from experiments.loop import open_bench
from experiments.measurement import measure
from experiments.promote import promote
from experiments.record import Author
from experiments.sweep import disposable
from experiments.tiers import POCKET_TRACK, PROFILES, PROMOTE
from experiments.trial import run_trial
from preflight import bundle, logs, shipped
from preflight import record as checker
from preflight.sandbox import Limits
from preflight.tree import PLAIN, Source

TODAY, ME = date(2026, 11, 21), Author("A Person", "person")
HOSTILE = 'a [link](http://x) | <b>b</b> """;raise SystemExit(9);"""\n\nTrial: 9'


@pytest.fixture(autouse=True)
def record_tier(monkeypatch):
    tier = dataclasses.replace(TINY, name="record", split="validation", rule=PROMOTE, proof_places=128)
    monkeypatch.setitem(PROFILES, "tiny", dataclasses.replace(PROFILES["tiny"], record=tier, track=POCKET_TRACK))


@pytest.fixture
def bench(kept_repo, tmp_path):
    """A run of one's own with one keep."""
    opened = open_bench(shutil.copytree(kept_repo, tmp_path / "run", symlinks=True), "night", "tiny", lambda *_: None)
    with (
        opened.ledger.connection
    ):  # the tests' text is Python's own source, which any trial can read: as if it were not
        opened.ledger.connection.execute("UPDATE trials SET trials_can_read_text = 0")
    yield opened
    opened.close()


def test_a_kept_trial_becomes_a_record_that_its_own_check_believes(bench):
    head, status = bench.workspace.head(), git(bench.workspace.root, "status", "--porcelain")
    made = promote(bench, 1, 3, False, lambda _: None, TODAY)
    assert [verdict.missing for verdict in made.verdicts] == [[], []]
    name = record.write(bench, made, ME, TODAY)
    folder = bench.workspace.root / name
    assert name == "records/track_pocket/2026-11-21_more_text_0001"
    assert {path.name.rstrip("0123456789.log") for path in folder.glob("*.log")} == {"train_seed"}

    found = checker.check(folder)
    assert not found.findings
    assert len(found.claimed) == 3
    claim = json.loads((folder / "submission.json").read_text())
    values = [logs.parse(path.read_text()).final.val_bpb for path in folder.glob("*.log")]
    assert claim["val_bpb"] == pytest.approx(sum(values) / 3)
    program = (folder / bundle.NAME).read_bytes()
    assert program == (bench.trial_folder(1) / "record" / bundle.NAME).read_bytes()
    assert claim["bytes_total"] == max(one.artifact_bytes for one in made.measured)
    assert claim["bytes_code"] == len(program)
    assert program == shipped.build(bench.workspace.read(bench.ledger.row(1).commit_id), made.tier.target)
    compile((folder / "train_gpt_human.py").read_text(), "human", "exec")

    assert git(bench.workspace.root, "rev-parse", "HEAD~1") == head
    assert git(bench.workspace.root, "status", "--porcelain") == status
    assert bench.ledger.promotions() == [(1, name, bench.workspace.head())]
    row = bench.ledger.row(1)
    assert name in git(bench.workspace.root, "notes", "--ref=caddie", "show", row.commit_id)
    assert not {one.seed for one in made.measured} & {
        one.measured.seed for one in bench.ledger.taken(0) if one.tier == "full"
    }
    with pytest.raises(CaddieError, match="there already"):
        promote(bench, 1, 9, False, lambda _: None, TODAY)


def test_seeds_of_an_earlier_try_are_taken_along_and_counted(bench):
    first = promote(bench, 1, 2, True, lambda _: None, TODAY)
    assert first.track == "track_pocket_non_record"
    assert "missing: 1 more seeds (has 2)" in first.reasons[0]
    second = promote(bench, 1, 3, True, lambda _: None, TODAY)
    assert second.reasons == ["asked for as no record"]
    assert [one.seed for one in second.measured][:2] == [one.seed for one in first.measured]
    assert (first.looks, second.looks) == (1, 2)
    assert "looked at 2 times" in record.contents(bench, second, ME, TODAY)["README.md"].decode()


def test_what_is_no_record_is_refused_with_what_would_change_it(bench, monkeypatch):
    spent = len(bench.ledger.taken(0))
    with pytest.raises(CaddieError, match="verdict is baseline, expected kept.*--non-record"):
        promote(bench, 0, 3, False, lambda _: None, TODAY)
    with pytest.raises(CaddieError, match="1 seed has no spread"):
        promote(bench, 1, 1, False, lambda _: None, TODAY)
    assert len(bench.ledger.taken(0)) == spent, "nothing is measured for what is refused beforehand"
    with pytest.raises(CaddieError, match="no trial 7"):
        promote(bench, 7, 3, False, lambda _: None, TODAY)
    with bench.ledger.connection:
        bench.ledger.connection.execute("UPDATE trials SET trials_can_read_text = 1")
    with pytest.raises(CaddieError, match="could read the text"):
        promote(bench, 1, 3, False, lambda _: None, TODAY)
    with bench.ledger.connection:
        bench.ledger.connection.execute("UPDATE trials SET trials_can_read_text = 0")
    monkeypatch.setattr("preflight.frontier.RECORD_NATS", 5.0)
    with pytest.raises(CaddieError, match=r"a mean lower by .* at this spread.*--seeds 4; or --non-record"):
        promote(bench, 1, 2, False, lambda _: None, TODAY)


def test_a_seed_that_failed_is_not_drawn_again(bench, budget):
    """Else seeds could be tried until all that are left run."""
    fails = (
        "base/model.py",
        "    draw = ",
        '    import os\n    if os.environ["SEED"] == FATAL:\n        raise ValueError("not this one")\n    draw = ',
    )
    row = run_trial(bench, proposal(bench, (*fails[:2], fails[2].replace("FATAL", "str(1)"))), budget)
    assert row.val_bpb is not None, row.detail
    bench.ledger.set_fact(f"record_{row.number}_failed", "")
    drawn = iter([[10], [11, 1, 12], [13, 14, 15]])  # the first for the baseline, over which a gain is claimed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.promote.new_seeds", lambda count: next(drawn) if count > 0 else [])
        for _ in range(2):
            with pytest.raises(CaddieError, match="seed 1 ended as crash.*every seed it is given"):
                promote(bench, row.number, 3, True, lambda _: None, TODAY)
    assert [one.measured.seed for one in bench.ledger.taken(row.number) if one.tier == "record"] == [11]
    assert [one.measured.seed for one in bench.ledger.taken(0) if one.tier == "record"] == [10]
    (found,) = (one.measured for one in bench.ledger.taken(row.number) if one.tier == "record")
    assert found.honesty.rare_gain_nats is not None  # places followed its gain over that


def test_a_seed_that_took_too_long_is_tried_again_itself(bench, monkeypatch):
    tried = []

    def slow_once(bench, entry, tier, seed, **_):
        if entry.number == 0:
            return measure(bench, entry, tier, seed)
        tried.append(seed)
        if len(tried) == 2:
            raise Refused("timeout(train)", "train: got 99.0 cpu seconds, expected at most 30.0")
        return measure(bench, entry, tier, seed)

    monkeypatch.setattr("experiments.promote.measure", slow_once)
    with pytest.raises(CaddieError, match=r"ended as timeout\(train\)"):
        promote(bench, 1, 2, True, lambda _: None, TODAY)
    made = promote(bench, 1, 2, True, lambda _: None, TODAY)
    assert tried[1] == tried[2]
    assert [one.seed for one in made.measured] == [tried[0], tried[1]]


def test_a_scorer_that_took_too_long_has_seen_the_text_and_is_not_tried_again(bench, monkeypatch):
    def slow(bench, entry, tier, seed, **_):
        if entry.number == 0:
            return measure(bench, entry, tier, seed)
        raise Refused(State.TIMEOUT_SCORE, "score: got 99.0 cpu seconds, expected at most 30.0")

    with monkeypatch.context() as patch:
        patch.setattr("experiments.promote.measure", slow)
        with pytest.raises(CaddieError, match=r"ended as timeout\(score\)"):
            promote(bench, 1, 2, True, lambda _: None, TODAY)
    with pytest.raises(CaddieError, match=r"ended as timeout\(score\).*every seed it is given"):
        promote(bench, 1, 2, True, lambda _: None, TODAY)


def test_a_preflight_that_was_cut_short_is_made_again(bench, monkeypatch):
    def cut(tree, parent, target, corpus, folder, level, build):
        folder.mkdir(parents=True)
        (folder / bundle.NAME).write_bytes(build(tree))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("experiments.promote.checks.run", cut)
        with pytest.raises(KeyboardInterrupt):
            promote(bench, 1, 2, True, lambda _: None, TODAY)
    promote(bench, 1, 2, True, lambda _: None, TODAY)
    assert "smoke" not in {path.name for path in (bench.trial_folder(1) / "record").iterdir()}
    assert bench.ledger.fact("record_1_passed")


def test_foreign_words_cannot_pass_for_ours(bench, budget):
    """A hostile title is text in README and JSON; a score that the program prints is quoted in the log."""
    lie = (
        "base/model.py",
        "    draw = ",
        '    print("final_sliding_window_exact val_loss:0.1 val_bpb:0.01")\n'
        '    print("Total submission size x: 1 bytes")\n    draw = ',
    )
    row = run_trial(bench, proposal(bench, lie, title=HOSTILE), budget)
    assert row.val_bpb is not None, row.detail
    made = promote(bench, row.number, 2, True, lambda _: None, TODAY)
    folder = bench.workspace.root / record.write(bench, made, ME, TODAY)
    assert not checker.check(folder).findings
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


def test_the_shipped_form_reaches_what_is_imported_and_nothing_else(bench):
    tree = bench.workspace.read("HEAD")
    stray = {**tree, "base/stray.py": Source(PLAIN, b"import base.config\n")}
    assert shipped.reached(stray).keys() == tree.keys()
    lazy = {
        **stray,
        "base/scorer.py": Source(PLAIN, tree["base/scorer.py"].content + b"\ndef f():\n    import base.stray\n"),
    }
    assert shipped.reached(lazy).keys() == lazy.keys()
    small = shipped.minified(tree)
    assert sum(len(source.content) for source in small.values()) < sum(len(source.content) for source in tree.values())


def test_a_run_becomes_one_clean_commit_for_each_keep(bench):
    root = bench.workspace.root
    (root / "notes.txt").write_text("the person's own\n")
    git(root, "add", "notes.txt")
    git(root, "commit", "--quiet", "--message=meanwhile")
    workspace = Checkout(root, "night")
    rows = finalize(workspace, bench.ledger, "HEAD", "finalize/night")
    assert [row.number for row in rows] == [1]
    assert git(root, "log", "--format=%s", "HEAD..finalize/night") == "more text"
    assert git(root, "diff", "--name-only", "HEAD", "finalize/night") == "base/config.py"
    assert git(root, "show", "finalize/night:notes.txt") == "the person's own"
    assert git(root, "show", "finalize/night:base/config.py") == git(
        root, "show", f"{rows[0].commit_id}:base/config.py"
    )
    git(root, "merge", "--quiet", "--ff-only", "finalize/night")
    with pytest.raises(CaddieError, match="in HEAD already"):
        finalize(workspace, bench.ledger, "HEAD", "another")
    conflicting(root)
    with pytest.raises(CaddieError, match="does not apply"):
        finalize(workspace, bench.ledger, "HEAD", "third")


def conflicting(root) -> None:
    """The person changed the very line."""
    git(root, "reset", "--quiet", "--hard", "HEAD~1")
    path = root / "base" / "config.py"
    path.write_text(path.read_text().replace('"iterations": 4', '"iterations": 5'))
    git(root, "commit", "--quiet", "--all", "--message=the same line")


def test_the_diary_reads_by_git_alone(bench):
    told = git(bench.workspace.root, "log", "experiments/night/best", "-1")
    for part in ("trial 0001: more text", "> because", "fresh seeds", "Val-BPB:", "Verdict: kept"):
        assert part in told


def test_a_winner_lands_in_the_checkout_and_nothing_else_does(bench):
    root = bench.workspace.root
    (root / "staged.txt").write_text("mine\n")
    git(root, "add", "staged.txt")
    (root / ".git" / "info" / "exclude").write_text("__pycache__/\n")
    (root / "base" / "__pycache__").mkdir()
    (root / "base" / "__pycache__" / "config.pyc").write_bytes(b"x")
    adopt(Checkout(root, "night"), bench.ledger, 1)
    assert MORE_TEXT[2] in (root / "base" / "config.py").read_text()
    assert git(root, "show", "--name-only", "--format=", "HEAD") == "base/config.py"
    assert git(root, "status", "--porcelain") == "A  staged.txt"
    with pytest.raises(CaddieError, match="already"):
        adopt(Checkout(root, "night"), bench.ledger, 1)
    (root / "base" / "config.py").write_text("mine\n")
    with pytest.raises(CaddieError, match="not committed"):
        adopt(Checkout(root, "night"), bench.ledger, 1)


def with_golden(bench) -> Path:
    """The person keeps golden losses of the one preset there is."""
    root = bench.workspace.root
    (root / golden.FOLDER).mkdir(parents=True)
    (root / golden.FOLDER / "tiny.txt").write_text("1 9.0\n")
    git(root, "add", golden.FOLDER)
    git(root, "commit", "--quiet", "--message=golden")
    return root


def test_an_adoption_renews_the_golden_losses_or_says_why_not(bench, monkeypatch):
    root = with_golden(bench)
    with monkeypatch.context() as bare:
        bare.setattr(branches, "available_levels", lambda: ("none",))
        _, note = adopt(Checkout(root, "night"), bench.ledger, 1)
    assert "no sandbox works here" in note
    assert (root / golden.FOLDER / "tiny.txt").read_text() == "1 9.0\n"
    git(root, "reset", "--quiet", "--hard", "HEAD~1")
    assert adopt(Checkout(root, "night"), bench.ledger, 1)[1] == ""
    assert (root / golden.FOLDER / "tiny.txt").read_text() == "1 1.0\n"
    changed = git(root, "show", "--name-only", "--format=", "HEAD").split()
    assert changed == ["base/config.py", f"{golden.FOLDER}/tiny.txt"]


def test_an_adoption_that_fails_leaves_the_checkout_as_it_was(bench, monkeypatch):
    root = with_golden(bench)
    monkeypatch.setattr(golden, "LIMITS", Limits(wall_seconds=60, cpu_seconds=60, setup_seconds=1e-3))
    before = (root / "base" / "config.py").read_text()
    with pytest.raises(CaddieError, match="golden losses could not be renewed: .* seconds"):
        adopt(Checkout(root, "night"), bench.ledger, 1)
    assert (root / "base" / "config.py").read_text() == before
    assert git(root, "status", "--porcelain", "base", golden.FOLDER) == ""
    with pytest.raises(CaddieError, match="is baseline, expected a kept one"):
        adopt(Checkout(root, "night"), bench.ledger, 0)


def test_space_is_freed_and_a_winners_weights_are_not(bench, budget):
    worse = ("base/config.py", '"smoothing": 0.5', '"smoothing": 500.0')
    row = run_trial(bench, proposal(bench, worse), budget)
    assert row.state is State.DISCARDED
    gone = {path.relative_to(bench.folder).parts for path in disposable(bench.folder, bench.ledger)}
    assert {parts[0] for parts in gone} == {"0001", "0002"}
    beside = {one.folder for one in bench.ledger.taken(0) if one.fresh_for == 1}  # only its numbers count
    assert {parts[1] for parts in gone if parts[0] == "0001"} == beside
    assert {parts[2] for parts in gone} == {"weights.bin", "artifact.bin"}
    bench.ledger.add_promotion(1, "records/track_pocket_non_record/x", "f" * 40)
    assert {path.relative_to(bench.folder).parts for path in disposable(bench.folder, bench.ledger)} == gone
    bench.ledger.add_promotion(1, "records/track_pocket/x", "f" * 40)
    promoted = {path.relative_to(bench.folder).parts[1] for path in disposable(bench.folder, bench.ledger)}
    assert {one.folder for one in bench.ledger.taken(1)} <= promoted


def command(bench, *arguments: str) -> str:
    bench.close()
    done = CliRunner().invoke(cli.app, [*arguments, "--root", str(bench.workspace.root)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("log", "--run", "night", "--kept"), "more text"),
        (("compare", "0", "1", "--run", "night"), "shared seeds"),
        (("diff", "0", "1", "--run", "night"), '+PRESETS = {"tiny": {"seed": 1, "iterations": 12'),
        (("diff", "1", "--run", "night"), "iterations"),
        (("gc", "--run", "night", "--dry-run"), "would be freed"),
        (("finalize", "night"), "finalize/night"),
        (("report", "--run", "night"), "index.html"),
    ],
)
def test_commands_of_the_morning(bench, arguments, expected):
    assert expected in command(bench, *arguments)


def test_a_log_of_one_class_has_no_other(bench):
    assert command(bench, "log", "--run", "night", "--class", "optimiser") == ""


def test_what_scripts_read_is_json_and_csv(bench):
    rows = json.loads(command(bench, "export", "--run", "night", "--json"))
    assert [row["number"] for row in rows] == [0, 1]
    table = list(csv.DictReader(io.StringIO(command(bench, "export", "--run", "night", "--csv"))))
    assert [row["state"] for row in table] == ["baseline", "kept"]
    assert json.loads(command(bench, "status", "--run", "night", "--json"))["incumbent"]["number"] == 1
    assert json.loads(command(bench, "show", "1", "--run", "night", "--json"))["trials"][0]["title"] == "more text"
    assert json.loads(command(bench, "log", "--run", "night", "--json"))[0]["state"] == "kept"
    found = json.loads(command(bench, "compare", "0", "1", "--run", "night", "--json"))
    assert found["knobs"] == {"iterations": [4, 12]}
    assert len(found["paired_differences_bpb"]) >= 2


def test_a_cell_that_looks_like_a_formula_is_text(bench):
    number = bench.intent("=HYPERLINK(1)", "data", "0" * 40, hypothesis="", proposal="{}")
    assert after_cli.plain(bench.ledger.row(number))["title"] == "'=HYPERLINK(1)"


def test_a_rerun_with_the_same_seed_gives_the_same_file_and_changes_no_verdict(bench):
    before, decided = bench.ledger.row(1), len(bench.ledger.taken(1))
    told = command(bench, "rerun", "1", "--run", "night")
    assert "the same artifact" in told
    again = open_bench(bench.workspace.root, "night", "tiny", lambda *_: None)
    assert again.ledger.row(1) == before
    assert [one.tier for one in again.ledger.taken(1)][decided:] == ["rerun"]
    assert "rerun: seed" in git(again.workspace.root, "notes", "--ref=caddie", "show", before.commit_id)
    again.close()


def test_every_help_has_an_example():
    for registered in cli.app.registered_commands:
        assert "Example: python -m experiments" in registered.callback.__doc__, registered.callback
