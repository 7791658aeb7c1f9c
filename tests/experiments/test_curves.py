"""Loss curves: what is lost ends at once, what is healthy never does, and being behind counts only with a licence."""

import dataclasses
import json
import math
import os
import random

import pytest
from support import TINY

from data.errors import CaddieError, Refused
from experiments import licence
from experiments.curves import Point, Watch, behind, lost, read
from experiments.job import Job
from experiments.loop import open_bench
from experiments.replicates import new_seeds
from experiments.state import State
from preflight import bundle
from preflight.tree import PLAIN, Source

STEPS = 300


def healthy(seed: int, noise: float = 0.1, gap: float = 0.0) -> tuple[Point, ...]:
    rng = random.Random(seed)
    return tuple(
        Point(step, 3.5 + 3.4 * math.exp(-step / 60) + rng.gauss(0.0, noise) + gap) for step in range(10, STEPS + 1, 10)
    )


def test_a_healthy_curve_is_never_ended():
    for seed in range(200):
        points = list(healthy(seed))
        spike = random.Random(seed).randrange(5, len(points))
        points[spike] = Point(points[spike].step, points[spike].loss + 2.5)  # one bad batch
        for length in range(len(points) + 1):
            Watch(STEPS).look(tuple(points[:length]))


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda i, loss: math.nan if i == 7 else loss, "nan"),
        (lambda i, loss: math.inf if i == 7 else loss, "nan"),
        (lambda i, loss: loss + 0.3 * max(i - 8, 0), "diverged"),
        (lambda i, loss: 6.93, "diverged"),  # no progress
    ],
)
def test_a_lost_run_is_ended_early(change, verdict):
    points = tuple(Point(point.step, change(i, point.loss)) for i, point in enumerate(healthy(1)))
    first = next(length for length in range(len(points) + 1) if lost(points[:length], STEPS))
    assert first < 0.7 * len(points)
    assert lost(points[:first], STEPS)[0] == verdict
    with pytest.raises(Refused) as refusal:
        Watch(STEPS).look(points[:first])
    assert refusal.value.verdict == verdict


def test_without_a_length_nothing_is_called_too_slow():
    flat = tuple(Point(step, 6.93) for step in range(10, STEPS, 10))
    assert lost(flat, None) is None


def test_a_curve_is_read_with_care(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [
        '{"step": 10, "loss": 3.0}',
        "not json",
        '{"step": 20}',
        "[1]",
        '{"step": 30, "loss": NaN}',
        '{"step": 40, "lo',
    ]
    path.write_text("\n".join(lines))
    assert [point.step for point in read(path)] == [10, 30]
    assert math.isnan(read(path)[1].loss)
    (tmp_path / "link.jsonl").symlink_to(path)
    (tmp_path / "folder.jsonl").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    held = os.open(tmp_path / "pipe.jsonl", os.O_RDWR)
    assert {read(tmp_path / f"{name}.jsonl") for name in ("link", "none", "folder", "pipe")} == {()}
    os.close(held)


def test_behind_is_judged_once_and_at_half_time():
    reference = healthy(2, noise=0.0)
    assert behind(healthy(3, noise=0.0, gap=0.05), reference, STEPS) == ""
    assert "behind the incumbent at step 150" in behind(healthy(3, noise=0.0, gap=0.3), reference, STEPS)
    assert behind(healthy(3, noise=0.0, gap=0.3)[:10], reference, STEPS) == ""
    assert behind(healthy(3, noise=0.0, gap=0.3), (), STEPS) == ""


LOST = """\
    (options.out / "metrics.jsonl").write_text('{"step": 1, "loss": NaN}\\n')
    __import__("signal").pause()
    shards = sorted("""


def test_a_training_run_that_is_lost_does_not_run_on(bench, budget, tmp_path):
    """A real process that would train for ever: it is ended by its curve, not by the limit of 20 s."""
    tree = bench.workspace.read(bench.workspace.best())
    path, search = "base/__main__.py", "    shards = sorted("
    assert search in tree[path].content.decode()
    edited = {**tree, path: Source(PLAIN, tree[path].content.decode().replace(search, LOST).encode())}
    program = tmp_path / bundle.NAME
    program.write_bytes(bundle.build(edited))
    job = Job(program, bench.tier, bench.corpus, *new_seeds(1), budget, tmp_path / "run", bench.level)
    with pytest.raises(Refused, match="loss of nan at step 1") as refusal:
        bench.runner.measure(job)
    assert refusal.value.verdict == "nan"


def finished(bench, count: int, kept_behind: bool):
    """Rows with curves on disk: all discarded and behind, but maybe one that was behind and kept."""
    start, (like, *_) = bench.ledger.row(0), bench.ledger.measurements(0)

    def write(number, gap):
        folder = bench.measurement_folder(bench.tier, number, like.seed, None)
        folder.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"step": point.step, "loss": point.loss}) for point in healthy(0, noise=0.0, gap=gap)]
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")

    bench.ledger.connection.execute("UPDATE measurements SET measured = json_set(measured, '$.val_nats', 3.5)")
    write(0, 0.0)
    for i in range(count):
        number = bench.intent(f"t{i}", "data", start.commit_id, hypothesis="", proposal="{}", knobs="{}")
        bench.ledger.add_measurement(number, "full", "dev", dataclasses.replace(like, val_nats=3.7))
        write(number, 0.3)
        bench.ledger.settle(number, State.KEPT if kept_behind and i == 3 else State.DISCARDED, commit_id="f" * 40)
    return start, like.seed


@pytest.fixture
def long(bench, monkeypatch):
    """The bench with a tier that says how long its runs are, and classes that a person named."""
    target = dataclasses.replace(TINY.target, environment={**TINY.target.environment, "ITERATIONS": str(STEPS)})
    tier = dataclasses.replace(TINY, target=target)
    return dataclasses.replace(bench, tier=tier, curve_classes=frozenset({"data", "architecture"}))


@pytest.mark.parametrize(
    ("count", "kept_behind", "expected"), [(19, False, False), (20, False, True), (25, True, False)]
)
def test_the_licence_is_earned_and_lost(long, count, kept_behind, expected):
    finished(long, count, kept_behind)
    assert licence.licensed(long, long.tier, "data") is expected
    assert licence.licensed(long, long.tier, "architecture") is False  # each class has to earn its own


def test_a_curve_that_does_not_end_at_the_measured_loss_is_no_reference(long):
    """An incumbent that logs less than it has would make everyone look behind."""
    start, seed = finished(long, 1, kept_behind=False)
    assert licence.curve(long, start, long.tier, seed) != ()
    long.ledger.connection.execute("UPDATE measurements SET measured = json_set(measured, '$.val_nats', 4.5)")
    assert licence.curve(long, start, long.tier, seed) == ()


def test_who_may_be_ended_for_being_behind(long):
    start, seed = finished(long, 20, kept_behind=False)

    def reference(kind, knobs="{}", bench=long):
        number = bench.intent("next", kind, start.commit_id, hypothesis="", proposal="{}", knobs=knobs)
        found = licence.reference_curve(bench, number, start, bench.tier, seed)
        bench.ledger.settle(number, State.NO_OP)
        return number, found

    assert reference("data")[1] != ()
    assert reference("quantisation")[1] == ()  # nobody named it
    asked = dataclasses.replace(long, curve_classes=frozenset({"schedule", "optimiser", "data"}))
    assert reference("schedule", bench=asked)[1] == reference("optimiser", bench=asked)[1] == ()
    longer = json.dumps({**json.loads(start.knobs), "sequence_length": 999})
    same = start.knobs
    assert reference("data", longer)[1] == ()
    found = dict(reference("data", same) for _ in range(11))
    assert [number for number, curve in found.items() if not curve] == [number for number in found if number % 10 == 0]


def test_schedule_and_optimiser_cannot_be_named(repo):
    with pytest.raises(CaddieError, match="--end-behind: got optimiser"):
        open_bench(repo, "night", "tiny", lambda *_: None, curve_classes=["optimiser"])
