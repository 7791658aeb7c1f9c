"""Tests of misbehaving programs: each gets one final state and one clear line, and the loop goes on."""

import dataclasses
import json
import shutil

import pytest
from helpers.tiny_profile import proposal

from common.errors import DataError, SandboxError
from common.state import State
from data.corpus import Corpus
from experiments.trial.baseline import cpu_budget
from experiments.trial.trial import run_trial
from preflight import smoke
from preflight.candidate.launch import LaunchConfig

pytestmark = [pytest.mark.trial, pytest.mark.usefixtures("unlinted")]

MAIN = "base/model.py"
TRAIN = "    counts = (draw.random((VOCAB, VOCAB)) < 0.01).astype(np.float32)\n"
SCORER = "base/scorer.py"
LOSSES = "        losses = -self.table[before, tokens]\n"
PROGRAMS = {
    "hang": (MAIN, TRAIN, TRAIN + "    import time\n    time.sleep(1000)\n", "timeout(train)", "wall seconds"),
    "busy hang": (MAIN, TRAIN, TRAIN + "    while True:\n        pass\n", "timeout(train)", "seconds"),
    "fork bomb": (MAIN, TRAIN, TRAIN + "    import os\n    while True:\n        os.fork()\n", "crash", "processes"),
    "memory": (
        MAIN,
        TRAIN,
        TRAIN + "    hog = []\n    while True:\n        hog.append(b'x' * (1 << 24))\n",
        "oom",
        "memory",
    ),
    "nan": (SCORER, LOSSES, LOSSES + "        losses[0] = np.nan\n", "nan", "1 losses that are not finite"),
    "too few losses": (SCORER, LOSSES, LOSSES + "        losses = losses[1:]\n", "crash", "values"),
    "exception": (MAIN, TRAIN, "    raise RuntimeError('the idea does not work')\n", "crash", "the idea does not work"),
    "no weights": (MAIN, TRAIN, "    import os\n    os._exit(0)\n", "crash", "weights.bin"),
    "wrong frame": (
        SCORER,
        "        self.last = int(tokens[-1])\n",
        "        self.last = int(tokens[-1])\n"
        "        import contextlib, os, stat\n"
        "        for fd in range(3, 64):\n"
        "            with contextlib.suppress(OSError):\n"
        "                if stat.S_ISSOCK(os.fstat(fd).st_mode):\n"
        "                    os.write(fd, b'X' * 64)\n",
        "crash",
        "frame",
    ),
}


@pytest.fixture
def strict_run(run):
    """A run with limits that a test can wait for."""
    target = dataclasses.replace(run.tier.target, memory_bytes=1 << 29)
    tier = dataclasses.replace(run.tier, target=target, train_wall_seconds=5)
    return dataclasses.replace(run, tier=tier)


QUICK = ("exception", "nan", "memory", "wrong frame")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PROGRAMS]
)
def test_a_misbehaving_program_gets_a_state_and_the_loop_goes_on(strict_run, run, budget, name, monkeypatch):
    monkeypatch.setattr("preflight.smoke.LIMITS", dataclasses.replace(smoke.LIMITS, wall_seconds=5, cpu_seconds=5))
    path, search, replacement, state, words = PROGRAMS[name]
    if name == "fork bomb":  # each fork counts the pages it shares: with little memory, either limit may be hit first
        roomy = dataclasses.replace(strict_run.tier, target=run.tier.target)
        strict_run = dataclasses.replace(strict_run, tier=roomy)
    row = run_trial(strict_run, proposal(strict_run, (path, search, replacement)), budget)
    assert row.state == state, row.detail
    assert words in row.detail
    assert "\n" not in row.detail
    assert row.settled_at
    assert row.commit_id
    following = run_trial(
        strict_run, proposal(strict_run, ("base/config.py", '"smoothing": 0.5', '"smoothing": 0.6')), budget
    )
    assert following.state in (State.KEPT, State.DISCARDED), following.detail


@pytest.mark.parametrize("signal_number", [9, 15, 6])
def test_a_program_that_kills_itself_has_crashed(strict_run, budget, signal_number):
    """Not an infrastructure failure: those are tried again, counted, and end the controller."""
    text = proposal(strict_run, (MAIN, TRAIN, f"    import os\n    os.kill(os.getpid(), {signal_number})\n"))
    row = run_trial(strict_run, text, budget)
    assert row.state is State.CRASH, row.detail
    assert row.settled_at
    assert run_trial(strict_run, text, budget).state is State.DUPLICATE


def test_an_idea_is_tried_twice_after_infrastructure_failures_and_not_a_third_time(strict_run, budget):
    text = proposal(strict_run, ("base/config.py", '"smoothing": 0.5', '"smoothing": 0.6'))
    for _ in range(2):
        with pytest.raises(SandboxError, match="unknown sandbox level"):
            run_trial(dataclasses.replace(strict_run, level="gone"), text, budget)
    row = run_trial(strict_run, text, budget)
    assert row.state is State.DUPLICATE
    assert "not tried a third time" in row.detail
    assert [row.state for row in strict_run.ledger.rows()][1:] == [State.INFRA, State.INFRA, State.DUPLICATE]


def test_invalid_utf8_in_a_log_is_escaped(run, budget):
    content = "import os\nos.write(1, bytes(range(256)) * 100)\nos._exit(7)\n"
    row = run_trial(run, proposal(run, edits=[{"path": MAIN, "content": content}]), budget)
    assert row.state is State.CRASH
    assert "exit status 7" in row.detail
    assert row.detail.isprintable()


def test_an_unknown_knob_is_a_crash_with_the_programs_own_message(run, budget):
    line = "    knobs = dict(PRESETS[os.environ.get"
    edit = ("base/config.py", line, "    raise ValueError(\"unknown knob 'depth'; did you mean 'width'?\")\n" + line)
    row = run_trial(run, proposal(run, edit), budget)
    assert row.state is State.CRASH
    assert "unknown knob 'depth'; did you mean 'width'?" in row.detail


def test_a_corrupt_shard_is_a_data_error(repo, tiny_corpus, tmp_path):
    shard = tmp_path / "tiny" / "train" / "fineweb_train_000000.bin"
    shutil.copytree(tiny_corpus.folder, tmp_path / "tiny")
    shard.write_bytes(shard.read_bytes()[:-2])
    with pytest.raises(DataError, match="expected sha256"):
        Corpus.open(tmp_path / "tiny", verify=True)
    with pytest.raises(DataError, match="fineweb_train_000000.bin: expected .* bytes for .* tokens, found"):
        Corpus.open(tmp_path / "tiny").tokens("train")


def test_an_artifact_over_the_cap_is_oversize(run, budget):
    target = LaunchConfig("tiny", cap_bytes=5_000, environment=run.tier.target.environment)
    small = dataclasses.replace(run, tier=dataclasses.replace(run.tier, target=target))
    row = run_trial(small, proposal(small, ("base/config.py", '"smoothing": 0.5', '"smoothing": 0.7')), budget)
    assert row.state is State.OVERSIZE, row.detail


def test_a_row_round_trips_through_json(run):
    assert json.loads(json.dumps(dataclasses.asdict(run.ledger.row(0))))["state"] == "baseline"


@pytest.mark.parametrize(
    "description",
    [
        "[" * 60_000,
        '{"knobs": 7}',
        '{"knobs": [{"value": 3}]}',
        "",
        "7",
        '{"knobs": [{"name": 1e999, "value": "\ud800"}]',
        "\xff",
    ],
)
def test_a_hostile_description_is_a_crash_of_the_candidate(run, budget, description):
    content = (run.workspace.root / "base" / "config.py").read_text()
    content += (
        "\n\nimport os, sys\n"
        "if 'describe' in sys.argv:\n"
        f"    os.write(1, {description.encode('utf-8', 'surrogatepass')!r} + b'\\n')\n    os._exit(0)\n"
    )
    row = run_trial(run, proposal(run, edits=[{"path": "base/config.py", "content": content}]), budget)
    assert row.state is State.CRASH, row.detail
    assert "describe" in row.detail


def test_a_description_that_hangs_times_out(run, budget, monkeypatch):
    limits = dataclasses.replace(smoke.LIMITS, wall_seconds=2, cpu_seconds=2)
    monkeypatch.setattr("preflight.candidate.describe.LIMITS", limits)
    path, search = "base/config.py", "def resolve():\n"
    hang = f"{search}    import sys, time\n\n    if sys.argv[1] == 'describe':\n        time.sleep(1000)\n"
    row = run_trial(run, proposal(run, (path, search, hang)), budget)
    assert row.state is State.TIMEOUT_DESCRIBE, row.detail
    assert row.settled_at


def test_held_out_text_that_a_scorer_prints_reaches_no_row(run, budget):
    line = "        tokens = tokens.astype(np.int64)\n"
    leak = (
        line
        + "        if len(tokens) > 700:\n            raise ValueError('leaked ' + ' '.join(map(str, tokens[:60])))\n"
    )
    row = run_trial(run, proposal(run, (SCORER, line, leak)), budget)
    assert row.state is State.CRASH
    assert "leaked" not in row.detail
    assert "score.log" in row.detail


@pytest.mark.slow
def test_deep_folders_and_long_paths_do_not_stop_the_loop(run, budget):
    deep = (
        "    import os\n    here = os.getcwd()\n    for _ in range(1500):\n"
        "        os.mkdir('d' * 9); os.chdir('d' * 9)\n    os.chdir(here)\n"
    )
    row = run_trial(run, proposal(run, (MAIN, TRAIN, TRAIN + deep)), budget)
    assert row.settled_at
    following = run_trial(run, proposal(run, ("base/config.py", '"smoothing": 0.5', '"smoothing": 0.6')), budget)
    assert following.state in (State.KEPT, State.DISCARDED), following.detail


@pytest.mark.slow
def test_training_cannot_hide_in_packing_or_scoring(run):
    limits = dataclasses.replace(cpu_budget(run, run.ledger.row(0)), train_cpu_seconds=100.0, score_cpu_seconds=5.0)
    run = dataclasses.replace(run, tier=dataclasses.replace(run.tier, pack_cpu_seconds=5.0))
    burn = "import time\nstarted = time.process_time()\nwhile time.process_time() - started < 12:\n    pass\n"
    path = "base/codec.py"  # which every phase imports
    content = (run.workspace.root / path).read_text()
    for phase in ("pack", "score"):
        guarded = "\n\nimport os, sys\nif sys.argv[1] == PHASE and not os.environ.get('ITERATIONS'):\n"
        guarded = guarded.replace("PHASE", repr(phase)) + "".join(f"    {line}\n" for line in burn.splitlines())
        # Smoke runs set ITERATIONS, the trial does not: this program burns CPU in the trial alone.
        row = run_trial(run, proposal(run, edits=[{"path": path, "content": content + guarded}]), limits)
        assert row.state == f"timeout({phase})", row.detail
