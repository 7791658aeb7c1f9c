"""The real base/ by hand: without the harness, a kept bundle and a record repeat their recorded scores."""

import dataclasses
import os
import re
import subprocess
import sys
from datetime import date

import pytest
from helpers.pocket import TARGET
from helpers.tiny_profile import ROOT

from dev.benchmarks.pocket import by_hand
from experiments.promotion.promote import PromotionRequest, promote
from experiments.promotion.record_folder import Author, contents
from experiments.runner.seeds import shuffle_shards
from experiments.tiers import PROFILES
from preflight.records import logs

pytestmark = [pytest.mark.slow, pytest.mark.torch]


def score_by_hand(run, *launcher, **environment):
    """Run the user's own base/ as the challenge does, without the harness; returns the printed val_bpb."""
    first, shuffled = run.ledger.measurements(0)[0], run.folder / "shuffled"
    if not shuffled.exists():
        shuffle_shards(run.corpus, shuffled, first.data_seed)
    command = by_hand("night", "pocket", 0, first.seed, shuffled)
    command = command.replace(".venv/bin/python", " ".join([sys.executable, *launcher]))
    extra = " ".join(f"{name}={value}" for name, value in environment.items())
    clean = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        command.replace("env ", f"env {extra} ", 1),
        shell=True,
        cwd=run.workspace.root,
        env=clean,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (val_bpb,) = re.findall(r"^final_sliding_window .* val_bpb:(\S+)", done.stdout, re.MULTILINE)
    assert re.search(r"^Total submission size \S+: \d+ bytes$", done.stdout, re.MULTILINE)
    return val_bpb


def first_seed(run):
    """Return the score of the seed that `score_by_hand` repeats; the row has the mean of three."""
    return run.ledger.measurements(0)[0].val_bpb


def test_by_hand_the_bundle_prints_the_recorded_score_to_the_last_digit(pocket):
    run, _ = pocket
    assert score_by_hand(run) == f"{first_seed(run):.8f}"


def test_by_hand_on_two_ranks_it_is_close(pocket):
    run, _ = pocket
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    assert float(score_by_hand(run, *launcher)) == pytest.approx(first_seed(run), abs=2e-3)


def test_by_hand_it_survives_torch_compile(pocket):
    run, _ = pocket
    assert float(score_by_hand(run, COMPILE="1")) == pytest.approx(first_seed(run), abs=5e-3)


def test_a_record_alone_with_the_data_repeats_its_score(pocket, tmp_path):
    """No phase, no setting, no repository: only its folder, the data and a seed."""
    run, _ = pocket
    few = {**TARGET.environment, "ITERATIONS": "60"}
    tier = dataclasses.replace(
        PROFILES["pocket"].record, target=dataclasses.replace(TARGET, environment=few), audit_positions=64
    )
    run = dataclasses.replace(run, machine=dataclasses.replace(run.machine, record=tier))
    today = date(2026, 11, 21)
    promotion = promote(run, 0, PromotionRequest(2, non_record=True), lambda _: None, today)
    for name, content in contents(run, promotion, Author("a", "a"), today).items():
        (tmp_path / name).write_bytes(content)
    measurement = promotion.measured[0]
    data = ROOT / "shards" / "pocket"
    environment = {
        "PATH": os.environ["PATH"],
        "SEED": str(measurement.seed),
        "DATA_PATH": str(data / "train"),
        "VAL_PATH": str(data / "validation"),
        "TOKENIZER_PATH": str(data / "tokenizer.model"),
    }
    done = subprocess.run(
        [sys.executable, "train_gpt.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    printed = logs.parse(done.stdout)
    assert abs(printed.final.val_bpb - measurement.val_bpb) < 1e-6
    assert printed.total_bytes == measurement.artifact_bytes
    logged = logs.parse((tmp_path / f"train_seed{measurement.seed}.log").read_text())
    assert logged.final.val_bpb == pytest.approx(printed.final.val_bpb, abs=1e-6)
    assert logged.total_bytes == printed.total_bytes
