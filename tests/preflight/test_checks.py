"""Tests of preflight as a whole on the real base/, through its function and its command."""

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest
from helpers.base_tree import BASE
from helpers.tiny_profile import ROOT

from common.profiles import read_profiles
from preflight import checks, smoke
from preflight.candidate.candidate import Candidate
from preflight.candidate.launch import launch_config
from preflight.sandbox.isolation.levels import available_levels
from preflight.source import bundle, release

POCKET = launch_config(read_profiles()["pocket"])


@pytest.mark.torch
@pytest.mark.parametrize(
    ("level", "ranks"),
    [
        pytest.param(level, ranks, marks=[] if (place, ranks) == (0, 1) else pytest.mark.slow)
        for place, level in enumerate(level for level in available_levels() if level != "none")
        for ranks in (1, 2)
    ],
)
def test_the_real_base_passes(tiny_corpus, tmp_path, level, ranks):
    target = dataclasses.replace(POCKET, ranks=ranks)
    report = checks.run(BASE, BASE, target, tiny_corpus, tmp_path, level)
    assert report.passed, report.findings
    assert report.honesty.largest_difference_nats < 1e-4
    assert report.size
    assert 140_000 < report.size.untrained.model_bytes < 180_000
    assert report.size.low_bytes < report.size.untrained.code_bytes + 145_000 < report.size.high_bytes
    assert json.loads(report.knobs)["model_dim"] == 64


@pytest.mark.torch
def test_checks_stop_at_the_first_tier_with_a_finding(tiny_corpus, tmp_path):
    target = dataclasses.replace(POCKET, cap_bytes=len(bundle.build(BASE)) + 100_000)
    report = checks.run(BASE, BASE, target, tiny_corpus, tmp_path, available_levels()[0])
    assert [finding.rule for finding in report.findings] == ["oversize"]
    assert report.honesty is None


def preflight(*arguments):
    """Run `python -m preflight`."""
    return subprocess.run([sys.executable, "-m", "preflight", *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.torch
def test_exit_0_for_the_committed_tree():
    done = preflight(str(ROOT))
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("size: ")
    assert "\npassed" in done.stdout


def test_exit_1_names_rule_location_got_and_expected(tmp_path):
    shutil.copytree(ROOT / "base", tmp_path / "base")
    with (tmp_path / "base" / "train.py").open("a") as file:
        file.write("def (\n")
    done = preflight(str(tmp_path), "--json")
    assert done.returncode == 1
    (finding,) = json.loads(done.stdout)["findings"]
    assert finding["rule"] == "static"
    assert finding["path"] == "base/train.py"
    assert finding["line"] > 100
    assert finding["got"]
    assert finding["expected"]


def test_exit_2_says_what_is_missing(tmp_path):
    done = preflight(str(tmp_path))
    assert done.returncode == 2
    assert "expected a folder that holds base/" in done.stdout
    assert preflight(str(ROOT), "--shards", str(tmp_path)).returncode == 2
    assert preflight(str(ROOT), "--profile", "moon").returncode == 2


@pytest.mark.torch
def test_a_records_program_trains_to_the_same_weights(tiny_corpus, tmp_path):
    """Minified and with its settings built in, as a trial's bundle with the settings in its environment."""
    weights = []
    for name, program in (("trial", bundle.build(BASE)), ("record", release.build(BASE, POCKET.defaults))):
        folder = tmp_path / name
        folder.mkdir()
        (folder / bundle.NAME).write_bytes(program)
        target = (
            POCKET
            if name == "trial"
            else dataclasses.replace(POCKET, environment=external_settings(POCKET), preset="pocket")
        )
        candidate = Candidate(folder / bundle.NAME, target, available_levels()[0])
        weights.append(smoke.train(candidate, tiny_corpus, folder / "work", (7,))[0].read_bytes())
    assert weights[0] == weights[1]


def external_settings(target):
    """Return what must be set before Python starts, or is read by smoke; a record's own file sets everything else."""
    return {name: value for name, value in target.environment.items() if name.startswith(("MALLOC", "OMP", "BATCH"))}
