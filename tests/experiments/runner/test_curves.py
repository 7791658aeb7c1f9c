"""Early stopping by loss curves: a failed run is ended at once, a healthy one never."""

import math
import os
import random

import pytest

from common.errors import Refused
from experiments.analysis.pairing import new_seeds
from experiments.runner.curves import Point, early_stop, raise_if_lost, read_curve
from experiments.runner.job import Job
from preflight.source import bundle
from preflight.source.tree import PLAIN, Source

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
            raise_if_lost(tuple(points[:length]), STEPS)


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda i, loss: math.nan if i == 7 else loss, "nan"),
        (lambda i, loss: math.inf if i == 7 else loss, "nan"),
        (lambda i, loss: loss + 0.3 * max(i - 8, 0), "diverged"),
        (lambda i, loss: 6.93, "diverged"),  # no progress
    ],
)
def test_a_failed_run_is_ended_early(change, verdict):
    points = tuple(Point(point.step, change(i, point.loss)) for i, point in enumerate(healthy(1)))
    first = next(length for length in range(len(points) + 1) if early_stop(points[:length], STEPS))
    assert first < 0.7 * len(points)
    assert early_stop(points[:first], STEPS)[0] == verdict
    with pytest.raises(Refused) as refusal:
        raise_if_lost(points[:first], STEPS)
    assert refusal.value.verdict == verdict


def test_without_a_length_no_run_is_ended_for_slow_progress():
    flat = tuple(Point(step, 6.93) for step in range(10, STEPS, 10))
    assert early_stop(flat, None) is None


def test_malformed_lines_and_special_files_are_skipped(tmp_path):
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
    assert [point.step for point in read_curve(path)] == [10, 30]
    assert math.isnan(read_curve(path)[1].loss)
    (tmp_path / "link.jsonl").symlink_to(path)
    (tmp_path / "folder.jsonl").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    held = os.open(tmp_path / "pipe.jsonl", os.O_RDWR)
    assert {read_curve(tmp_path / f"{name}.jsonl") for name in ("link", "none", "folder", "pipe")} == {()}
    os.close(held)


LOST = """\
    (options.out / "metrics.jsonl").write_text('{"step": 1, "loss": NaN}\\n')
    __import__("signal").pause()
    shards = sorted("""


def test_a_failed_training_run_is_ended(run, budget, tmp_path):
    """A real process that would train forever: it is ended by its curve, not by the limit of 20 s."""
    tree = run.workspace.read(run.workspace.best())
    path, search = "base/__main__.py", "    shards = sorted("
    assert search in tree[path].content.decode()
    edited = {**tree, path: Source(PLAIN, tree[path].content.decode().replace(search, LOST).encode())}
    program = tmp_path / bundle.NAME
    program.write_bytes(bundle.build(edited))
    job = Job(program, run.tier, run.corpus, *new_seeds(1), budget, tmp_path / "run", run.level)
    with pytest.raises(Refused, match="loss of nan at step 1") as refusal:
        run.runner.measure(job)
    assert refusal.value.verdict == "nan"
