"""Tests of limits: a trial that one ended is shown with its value and with the limit, everywhere."""

import csv
import dataclasses
import io

import pytest
from helpers.tiny_profile import TINY, proposal
from helpers.trials import MODEL, NEUTRAL, PACED, SCORER, spent
from rich.console import Console
from typer.testing import CliRunner

from common.errors import Refused
from common.state import State
from experiments.analysis.gains import gains
from experiments.cli import app, tables
from experiments.report.pages import write
from experiments.tiers import PACK_SECONDS, PROFILES, budget_lines
from experiments.trial.trial import run_trial
from proposers import context
from proposers.llm import prompt


@pytest.mark.slow
@pytest.mark.trial
def test_loading_counts_as_evaluation_in_wall_seconds_too(paced):
    run, limits = paced
    short = dataclasses.replace(run, tier=dataclasses.replace(run.tier, score_wall_seconds=2.0))
    # The candidate sleeps: a loader that waits uses no CPU, and only the wall-clock limit can end it.
    asleep = (SCORER, "        self.table = table\n", "        self.table = table\n        time.sleep(3)\n")
    row = run_trial(short, proposal(run, (SCORER, "import numpy", "import time\n\nimport numpy"), asleep), limits)
    assert row.state is State.TIMEOUT_SCORE, row.detail
    assert spent(row)["score_wall_seconds"][1] == 2.0


@pytest.mark.trial
def test_without_a_cpu_budget_the_wall_clock_limits_are_shown(run, budget):
    """GPU profiles have no CPU budget."""
    run = dataclasses.replace(run, tier=TINY)
    row = run_trial(run, proposal(run, NEUTRAL), budget)
    tier = run.tier
    limits = {name: limit for name, (_, limit) in spent(row).items()}
    assert limits == {
        "train_wall_seconds": tier.train_wall_seconds,
        "pack_wall_seconds": PACK_SECONDS,
        "unpack_wall_seconds": PACK_SECONDS,
        "score_wall_seconds": tier.score_wall_seconds,
        "artifact_bytes": tier.target.cap_bytes,
    }
    assert all(0 < used <= limit for used, limit in spent(row).values())


SLOW_END = (
    "        self.seen += len(tokens)\n",
    "        self.seen += len(tokens)\n"
    "        for _ in range(4000 if self.seen > 3_000 else 0):\n            np.sort(self.table[0].repeat(64))\n",
)


@pytest.mark.trial
@pytest.mark.slow
def test_a_trial_ended_by_a_limit_is_shown_with_its_value(paced):
    """A scorer that takes too long at the end of the text is shown in the row, table, page, export and prompt."""
    run, limits = paced
    better = (MODEL, 'knobs["smoothing"] * prior * 0.1', 'knobs["smoothing"] * prior * 0.11')
    row = run_trial(run, proposal(run, (SCORER, *SLOW_END), better, title="slow"), limits)
    assert row.state is State.TIMEOUT_SCORE, row.detail
    used, limit = spent(row)["score_cpu_seconds"]
    assert limit < used
    assert row.val_bpb is not None
    assert not row.has_value
    assert 0 < abs(row.delta_bpb) < 0.2
    assert f"{row.val_bpb:.4f} bpb" in row.detail
    assert "claimed but not audited" in row.detail
    assert_shown_everywhere(run, row, limit)


@pytest.mark.slow
@pytest.mark.trial
def test_measurements_before_a_limit_are_shown(paced):
    """The first seed is good, the second takes too long."""
    run, limits = paced
    message = "score: got 9.0 cpu seconds, expected at most 8.0"
    refusal = Refused(State.TIMEOUT_SCORE, message, spent={"score_cpu_seconds": (9.0, 8.0)})
    failing = dataclasses.replace(run, runner=FailsOnSecondSeed(run.runner, refusal))
    row = run_trial(failing, proposal(run, NEUTRAL, title="better"), limits)
    assert row.state is State.TIMEOUT_SCORE, row.detail
    (first, *_) = run.ledger.measurement_rows(row.number)
    assert row.val_bpb == first.measured.val_bpb
    assert row.delta_bpb is not None
    assert f"{row.delta_bpb:+.4f} bpb on 1" in row.detail
    assert_shown_everywhere(run, row, 8.0)


class FailsOnSecondSeed:
    """A runner that measures once, with a gain, and then raises a refusal."""

    def __init__(self, runner, refusal):
        self.runner, self.refusal, self.calls = runner, refusal, 0

    def measure(self, job):
        self.calls += 1
        if self.calls > 1:
            raise self.refusal
        measured = self.runner.measure(job)
        return dataclasses.replace(measured, val_bpb=measured.val_bpb - 0.05)


def assert_shown_everywhere(run, row, limit):
    """Check that table, pages, export and prompt show a trial's value and the limit that ended it."""
    root = run.workspace.root
    console = Console(width=140, file=io.StringIO())
    rows = run.ledger.rows()
    console.print(tables.table(rows, 140, gains(run.ledger, run.tier, rows)))
    table = console.file.getvalue()
    assert f"({row.val_bpb:.4f})" in table
    assert f"of {limit:.1f} CPU s" in table
    page = (write(root, "night").parent / "trials" / f"{row.number:04d}.html").read_text()
    index = (root / "trials" / "night" / "report" / "index.html").read_text()
    for text in (page, index):
        assert f"{row.val_bpb:.4f}" in text
        assert f"of {limit:.1f} CPU s" in text
    result = CliRunner().invoke(app.app, ["export", "--run", "night", "--csv", "--root", str(root)])
    (exported,) = [line for line in csv.DictReader(io.StringIO(result.stdout)) if line["number"] == str(row.number)]
    assert float(exported["val_bpb"]) == row.val_bpb
    assert "score_cpu_seconds" in exported["spent"]
    question = prompt.prompt(context.gather(root, "night"), "architecture").question
    line = next(line for line in question.splitlines() if line.startswith(f"trial {row.number},"))
    assert f"timeout(score) at {row.delta_bpb:+.4f}" in line
    assert f"expected at most {limit:.1f}" in line


@pytest.mark.slow
def test_budgets_are_stated_in_the_prompt(paced_repo, paced_profile):
    prefix = prompt.prompt(context.gather(paced_repo, "night"), "architecture").prefix[0]
    for line in budget_lines(PACED):
        assert line in prefix
    assert "300 steps" in budget_lines(PROFILES["pocket"].tier)[0]
    assert "600 s" in budget_lines(PROFILES["8xh100"].tier)[0]
