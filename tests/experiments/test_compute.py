"""Equal compute: dear steps are fewer, nothing spends more than the tier has, what a limit ended is shown."""

import csv
import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
from rich.console import Console
from support import TINY, git, proposal
from typer.testing import CliRunner

from data.errors import Refused
from data.state import State
from experiments import cli, view
from experiments.baseline import baseline, budget
from experiments.budgets import FREE, told
from experiments.compute import BAND, MOST_SHARE, fitting
from experiments.incumbent import remeasured
from experiments.loop import open_bench
from experiments.report.pages import write
from experiments.tiers import PACK_SECONDS, PROFILES, stated
from experiments.trial import run_trial
from preflight.pace import Cost
from proposers import context, render

STEPS = 40
MODEL, SCORER = "base/model.py", "base/scorer.py"
LOOP = '    for step in range(knobs["iterations"]):\n'
WORK = "        for _ in range(4):\n            np.sort(draw.random(1 << 20))\n"  # some 50 ms a step: thirty count
PACED = dataclasses.replace(
    TINY,
    target=dataclasses.replace(TINY.target, environment={**TINY.target.environment, "ITERATIONS": str(STEPS)}),
    train_cpu_slack=1.2,
    score_cpu_slack=4.0,
    pack_cpu_seconds=20.0,
)


@pytest.fixture(scope="module")
def paced_repo(blank_repo, tmp_path_factory):
    """A run whose steps take a while each, so that they can be counted; its baseline has been measured."""
    root = shutil.copytree(blank_repo, tmp_path_factory.mktemp("paced") / "repo", symlinks=True)
    model = root / MODEL
    model.write_text(model.read_text().replace(LOOP, LOOP + WORK))
    config = root / "base/config.py"
    config.write_text(config.read_text().replace('"smoothing": 0.5', '"smoothing": 4.0'))  # room for a gain
    git(root, "commit", "--quiet", "--all", "--message=work")
    earlier = PROFILES["tiny"]
    PROFILES["tiny"] = dataclasses.replace(earlier, tier=PACED)
    opened = open_bench(root, "night", "tiny", lambda *_: None)
    baseline(opened)
    opened.close()
    yield root
    PROFILES["tiny"] = earlier


@pytest.fixture
def paced(paced_repo, tmp_path):
    """A run of one's own, and its budget."""
    opened = open_bench(shutil.copytree(paced_repo, tmp_path / "repo", symlinks=True), "night", "tiny", lambda *_: None)
    yield opened, budget(opened, baseline(opened))
    opened.close()


def work(times: int) -> tuple[str, str, str]:
    return MODEL, "range(4)", f"range({times})"


def spent(row) -> dict[str, list[float]]:
    return json.loads(row.spent)


@pytest.mark.trial
def test_the_same_work_has_the_same_steps(paced):
    bench, limits = paced
    row = run_trial(bench, proposal(bench, (MODEL, "+ 0.1\n", "+ 0.10001\n")), limits)
    assert row.state in (State.KEPT, State.DISCARDED, State.REVERTED), row.detail
    assert row.steps == STEPS, row.step_cost
    assert row.step_cost == pytest.approx(1.0, abs=BAND)


@pytest.mark.trial
@pytest.mark.parametrize(("times", "least", "most"), [(10, 0.3, 0.5), (2, 1.4, 2.4)])
def test_dear_steps_are_fewer_and_cheap_ones_more(paced, times, least, most):
    bench, limits = paced
    row = run_trial(bench, proposal(bench, work(times)), limits)
    assert row.val_bpb is not None, row.detail
    assert least * STEPS <= row.steps <= most * STEPS, row.step_cost
    assert row.steps % (STEPS // 10) == 0
    used, limit = spent(row)["train_cpu_seconds"]
    assert used <= limit


@pytest.mark.trial
def test_an_incumbent_of_other_steps_is_measured_and_followed_with_them(paced):
    """Cheap steps are more steps; who changes such an incumbent has as many, and so has its own measurement anew."""
    bench, limits = paced
    runner = Watched(bench.runner)
    bench = dataclasses.replace(bench, runner=runner)
    smoother = ("base/config.py", '"smoothing": 4.0', '"smoothing": 0.7')
    kept = run_trial(bench, proposal(bench, work(2), smoother), limits)
    assert kept.state is State.KEPT, kept.detail
    assert kept.steps > STEPS
    runner.steps.clear()
    again = proposal(bench, ("base/config.py", '"smoothing": 0.7', '"smoothing": 0.8'), title="another")
    row = run_trial(bench, again, limits)
    assert row.steps == kept.steps, row.step_cost
    assert set(runner.steps) == {kept.steps}
    assert remeasured(bench, kept, bench.tier, row.number)
    assert set(runner.steps) == {kept.steps}
    question = render.prompt(context.gather(bench.workspace.root, "night"), "architecture").question
    assert f"{kept.steps} of {STEPS} steps at" in question


class Watched:
    """A runner, and the steps that it was asked for."""

    def __init__(self, runner):
        self.runner, self.steps = runner, []

    def measure(self, job):
        self.steps.append(job.tier.steps)
        return self.runner.measure(job)


@pytest.mark.trial
def test_loading_counts_as_evaluation_by_the_wall_as_well(paced):
    bench, limits = paced
    short = dataclasses.replace(bench, tier=dataclasses.replace(bench.tier, score_wall_seconds=2.0))
    # It is the candidate that sleeps: a loader that waits uses no CPU, and only the wall can end it.
    asleep = (SCORER, "        self.table = table\n", "        self.table = table\n        time.sleep(3)\n")
    row = run_trial(short, proposal(bench, (SCORER, "import numpy", "import time\n\nimport numpy"), asleep), limits)
    assert row.state is State.TIMEOUT_SCORE, row.detail
    assert spent(row)["score_wall_seconds"][1] == 2.0


@pytest.mark.trial
def test_without_a_budget_of_cpu_seconds_the_wall_is_shown(bench, budget):
    """As on GPUs."""
    bench = dataclasses.replace(bench, tier=TINY)
    row = run_trial(bench, proposal(bench, (MODEL, "+ 0.1\n", "+ 0.10001\n")), budget)
    tier = bench.tier
    found = {name: limit for name, (_, limit) in spent(row).items()}
    assert found == {
        "train_wall_seconds": tier.train_wall_seconds,
        "pack_wall_seconds": PACK_SECONDS,
        "unpack_wall_seconds": PACK_SECONDS,
        "score_wall_seconds": tier.score_wall_seconds,
        "artifact_bytes": tier.target.cap_bytes,
    }
    assert all(0 < used <= limit for used, limit in spent(row).values())


@pytest.mark.trial
def test_a_step_that_costs_more_than_ten_is_refused_before_it_runs(paced):
    bench, limits = paced
    row = run_trial(bench, proposal(bench, work(80)), limits)
    assert row.state is State.TIMEOUT_TRAIN
    assert "times the baseline" in row.detail
    assert "of the budget" in row.detail
    assert not bench.ledger.taken(row.number)


@pytest.mark.trial
def test_who_runs_cheap_when_it_is_short_meets_the_hard_stop(paced):
    bench, limits = paced
    short = 'range(4 if knobs["iterations"] <= 30 else 12)'
    row = run_trial(bench, proposal(bench, (MODEL, "range(4)", short)), limits)
    assert row.state is State.TIMEOUT_TRAIN, row.detail
    used, limit = spent(row)["train_cpu_seconds"]
    assert limit < used < 1.5 * limit


@pytest.mark.trial
def test_setup_beyond_the_baselines_counts_as_training(paced):
    bench, limits = paced
    knobs = 'knobs = dict(PRESETS[os.environ.get("PRESET", "tiny")])'
    burn = (
        f"{knobs}\n"
        '    for _ in range(90 if "SEED" in os.environ else 0):\n'
        "        np.sort(np.random.default_rng(1).random(1 << 20))"
    )
    edits = (("base/config.py", "import os\n", "import os\n\nimport numpy as np\n"), ("base/config.py", knobs, burn))
    row = run_trial(bench, proposal(bench, *edits, (MODEL, "+ 0.1\n", "+ 0.10001\n")), limits)
    assert row.val_bpb is not None, row.detail
    assert row.step_cost == pytest.approx(1.0, abs=2 * BAND)
    assert row.steps < 0.9 * STEPS
    used, limit = spent(row)["train_cpu_seconds"]
    assert used <= limit
    used, free = spent(row)[FREE]
    assert used > 1.5 * free
    assert "setup" in " ".join(told(row))


def test_steps_times_cost_is_the_budget():
    rng = np.random.default_rng(0)
    for _ in range(2_000):
        step, fixed, setup = 10 ** rng.uniform(-2, 1.5), rng.uniform(0, 20), rng.uniform(0, 40)
        incumbents = int(rng.choice([30, 270, 300, 900]))
        theirs, mine = Cost(2.0, 0.1, 0.5), Cost(2.0 + setup, 0.1 * step, fixed)
        steps = fitting(mine, theirs, 300, incumbents)
        share = mine.share(steps, theirs, 300)
        if steps == incumbents and steps % 30 == 0 and abs(share - 1) > BAND:
            assert share <= MOST_SHARE
        elif steps == incumbents:
            assert abs(share - 1) <= BAND
        elif steps:
            assert steps % 30 == 0
            assert share <= MOST_SHARE
            assert steps == 1500 or mine.share(steps + 30, theirs, 300) > MOST_SHARE
        else:
            assert mine.share(30, theirs, 300) > MOST_SHARE


SLOW_END = (
    "        self.seen += len(tokens)\n",
    "        self.seen += len(tokens)\n"
    "        for _ in range(4000 if self.seen > 3_000 else 0):\n            np.sort(self.table[0].repeat(64))\n",
)


@pytest.mark.trial
def test_what_a_limit_ended_is_shown_with_its_value(paced):
    """A scorer that is honest and takes too long at the end of the text: row, table, page, export, prompt."""
    bench, limits = paced
    better = (MODEL, 'knobs["smoothing"] * prior * 0.1', 'knobs["smoothing"] * prior * 0.11')
    row = run_trial(bench, proposal(bench, (SCORER, *SLOW_END), better, title="slow"), limits)
    assert row.state is State.TIMEOUT_SCORE, row.detail
    used, limit = spent(row)["score_cpu_seconds"]
    assert limit < used
    assert row.val_bpb is not None
    assert not row.valued
    assert 0 < abs(row.delta_bpb) < 0.2
    assert f"{row.val_bpb:.4f} bpb" in row.detail
    assert "claimed and not proved" in row.detail
    shown_everywhere(bench, row, limit)


@pytest.mark.trial
def test_what_was_measured_before_a_limit_is_shown(paced):
    """The first seed was good, the second took too long."""
    bench, limits = paced
    runner = Second(bench.runner, Refused(State.TIMEOUT_SCORE, "score: got 9.0 cpu seconds, expected at most 8.0",
                                          spent={"score_cpu_seconds": (9.0, 8.0)}))  # fmt: skip
    row = run_trial(
        dataclasses.replace(bench, runner=runner),
        proposal(bench, (MODEL, "+ 0.1\n", "+ 0.10001\n"), title="better"),
        limits,
    )
    assert row.state is State.TIMEOUT_SCORE, row.detail
    (first, *_) = bench.ledger.taken(row.number)
    assert row.val_bpb == first.measured.val_bpb
    assert row.delta_bpb is not None
    assert f"{row.delta_bpb:+.4f} bpb on 1" in row.detail
    shown_everywhere(bench, row, 8.0)


class Second:
    """Measures once, to a gain, and then refuses."""

    def __init__(self, runner, refusal):
        self.runner, self.refusal, self.calls = runner, refusal, 0

    def measure(self, job):
        self.calls += 1
        if self.calls > 1:
            raise self.refusal
        measured = self.runner.measure(job)
        return dataclasses.replace(measured, val_bpb=measured.val_bpb - 0.05)


def shown_everywhere(bench, row, limit):
    root = bench.workspace.root
    console = Console(width=140, file=io.StringIO())
    console.print(view.table(bench.ledger.rows(), 140))
    table = console.file.getvalue()
    assert f"({row.val_bpb:.4f})" in table
    assert f"of {limit:.1f} CPU s" in table
    page = (write(root, "night").parent / "trials" / f"{row.number:04d}.html").read_text()
    index = (root / "trials" / "night" / "report" / "index.html").read_text()
    for text in (page, index):
        assert f"{row.val_bpb:.4f}" in text
        assert f"of {limit:.1f} CPU s" in text
    done = CliRunner().invoke(cli.app, ["export", "--run", "night", "--csv", "--root", str(root)])
    (exported,) = [one for one in csv.DictReader(io.StringIO(done.stdout)) if one["number"] == str(row.number)]
    assert float(exported["val_bpb"]) == row.val_bpb
    assert "score_cpu_seconds" in exported["spent"]
    question = render.prompt(context.gather(root, "night"), "architecture").question
    line = next(line for line in question.splitlines() if line.startswith(f"trial {row.number},"))
    assert f"timeout(score) at {row.delta_bpb:+.4f}" in line
    assert f"expected at most {limit:.1f}" in line


def test_budgets_are_stated_in_the_prompt(paced_repo):
    prefix = render.prompt(context.gather(paced_repo, "night"), "architecture").prefix[0]
    for line in stated(PACED):
        assert line in prefix
    assert "300 steps" in stated(PROFILES["pocket"].tier)[0]
    assert "600 s" in stated(PROFILES["8xh100"].tier)[0]
