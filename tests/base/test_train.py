"""Training as processes: bitwise repeatable, dependent on the seed, equal on one and two ranks."""

import json
import os
import subprocess
import sys

import pytest
from helpers.tiny_profile import ROOT

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

SMALL = {
    "PRESET": "pocket",
    "ITERATIONS": "6",
    "BATCH_TOKENS": "512",
    "SEQUENCE_LENGTH": "64",
    "EVAL_LENGTH": "64",
    "WARMDOWN_ITERATIONS": "3",
    "LOG_EVERY": "1",
    "OMP_NUM_THREADS": "1",
}


def environment(**changes):
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **SMALL, **changes}


def train(corpus, out, ranks=1, **changes):
    """Phase `train` on the corpus; returns weights.bin and the losses."""
    out.mkdir()
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"] if ranks > 1 else []
    command = [sys.executable, *launcher, "-m", "base", "train", "--data", str(corpus.folder), "--out", str(out)]
    subprocess.run(command, cwd=ROOT, env=environment(**changes), check=True, capture_output=True)
    losses = [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    return (out / "weights.bin").read_bytes(), losses


@pytest.fixture(scope="module")
def reference(tiny_corpus, tmp_path_factory):
    return train(tiny_corpus, tmp_path_factory.mktemp("reference") / "out")


def test_a_fixed_seed_gives_equal_bits(tiny_corpus, tmp_path, reference):
    assert train(tiny_corpus, tmp_path / "again") == reference


def test_another_seed_gives_another_artifact(tiny_corpus, tmp_path, reference):
    weights, losses = train(tiny_corpus, tmp_path / "other", SEED="1")
    assert weights != reference[0]
    assert losses[0] != reference[1][0]


@pytest.mark.slow
def test_two_ranks_see_the_same_batches_and_repeat_themselves(tiny_corpus, tmp_path, reference):
    weights, losses = train(tiny_corpus, tmp_path / "two", ranks=2)
    assert losses == pytest.approx(reference[1], abs=1e-5)
    assert train(tiny_corpus, tmp_path / "two again", ranks=2) == (weights, losses)


EVERYTHING = {
    "MUON_ROW_NORM": "1",
    "LATE_LAYERS": "1:",
    "LATE_LR_SCALE": "1.5",
    "COMPLEMENTARY_ALPHA": "0.5",
    "ORDER": "strided",
    "CROWN_Q": "0.01",
    "SWA": "late",
    "MICRO_TOKENS": "128",
}


@pytest.mark.parametrize(
    ("knobs", "steps"),
    [
        pytest.param({"PARALLEL_MUON": "0"}, 20, id="replicated Muon", marks=pytest.mark.slow),
        pytest.param({}, 20, id="Parallel Muon", marks=pytest.mark.slow),
        pytest.param(EVERYTHING, 20, id="everything"),
        pytest.param({"MOUSSE": "1"}, 4, id="Mousse", marks=pytest.mark.slow),  # its eigenvectors magnify rounding
    ],
)
def test_two_ranks_train_as_one_does(tiny_corpus, tmp_path, knobs, steps):
    """Both Muons: reduction, clipping, shared and padded banks (three layers), gathered updates."""
    _, alone = train(tiny_corpus, tmp_path / "one", ITERATIONS=str(steps), **knobs)
    _, together = train(tiny_corpus, tmp_path / "two", ranks=2, ITERATIONS=str(steps), **knobs)
    assert together == pytest.approx(alone, abs=1e-5)
    assert alone[-1] < alone[0] - 0.5 or steps < 20


def test_ranks_with_a_wallclock_limit_stop_together(tiny_corpus, tmp_path):
    """Rank 0's clock counts; two ranks that stopped at different steps would wait for each other forever."""
    limits = {"ITERATIONS": "100000", "MAX_WALLCLOCK_SECONDS": "1.5", "LOG_EVERY": "1"}
    _, losses = train(tiny_corpus, tmp_path / "two", ranks=2, **limits)
    assert 1 < len(losses) < 100_000


def test_losses_fall(reference):
    assert reference[1][-1] < reference[1][0] - 0.05


def test_a_loss_that_is_not_finite_has_its_own_exit_code(tiny_corpus, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-m", "base", "train", "--data", str(tiny_corpus.folder), "--out", str(out)]
    done = subprocess.run(
        [*command, "--set", "embed_lr=inf"], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 3
    assert "train_loss is nan at step" in done.stdout
    assert not (out / "weights.bin").exists()


def test_a_misspelled_knob_is_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "base", "describe", "--json"],
        cwd=ROOT,
        env=environment(NUM_LAYER="3"),
        capture_output=True,
        text=True,
    )
    assert done.returncode
    assert "did you mean NUM_LAYERS" in done.stderr.splitlines()[-1]


def test_describe_lists_knobs_presets_and_parameters():
    done = subprocess.run(
        [sys.executable, "-m", "base", "describe", "--json"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    described = json.loads(done.stdout)
    assert {"name", "section", "type", "value", "doc", "range", "choices"} == set(described["knobs"][0])
    assert {"baseline", "pocket", "challenge", "seed_569", "seed_569_pocket"} <= set(described["presets"])
    assert {"xsa", "recurrence"} <= set(described["techniques"])
    assert described["parameters"]["total"] == 176_902


def test_packing_needs_no_torch(reference, tmp_path):
    """Five processes of a trial import torch (size, smoke and real train, smoke and real score); pack does not."""
    (tmp_path / "weights.bin").write_bytes(reference[0])
    program = (
        "import runpy, sys\n"
        "try:\n    runpy.run_module('base', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "assert 'torch' not in sys.modules"
    )
    arguments = ["pack", "--weights", str(tmp_path / "weights.bin"), "--cap-bytes", "1000000", "--out"]
    command = [sys.executable, "-c", program, *arguments, str(tmp_path / "artifact.bin")]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True)
    assert (tmp_path / "artifact.bin").stat().st_size > 10_000
