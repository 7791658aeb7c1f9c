"""Tests of doctor's checks: green where nothing is missing, and red with what to type for each thing that is."""

import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.doctor import check_results, doctor, path_without, red_line, with_proposer

from common.profiles import ProfileTable
from experiments.doctor import checks
from experiments.doctor.result import BAD, GOOD, NOTE
from experiments.proposal.options import PROPOSERS, ProposerOptions
from experiments.run.request import RunRequest
from experiments.tiers import PROFILES, Profile
from preflight.sandbox.isolation.levels import available_levels
from proposers import PROPOSERS as IMPLEMENTED

torch = pytest.mark.torch
needs_bwrap = pytest.mark.skipif("namespace" not in available_levels(), reason="needs bubblewrap to take things away")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
no_gpu = pytest.mark.skipif(bool(shutil.which("nvidia-smi")), reason="this machine has a GPU")


@pytest.fixture
def tiny_request(repo) -> RunRequest:
    return RunRequest(run="night", profile="tiny", hours=1.0, root=repo, proposer=ProposerOptions("scripted"))


@pytest.fixture
def machine(monkeypatch):
    """Return a function that changes the profile."""

    def change(**changes):
        monkeypatch.setitem(PROFILES, "tiny", replace(PROFILES["tiny"], **changes))

    return change


@torch
def test_a_fresh_clone_is_green(repo):
    status, text = doctor(repo, "--trials", "30", "--effort", "high")
    assert status == 0, text
    assert all(line.startswith(("ok", "note", "      type")) for line in text.splitlines())
    assert not (repo / "trials" / "demo" / "doctor").exists()


@needs_bwrap
@torch
def test_torch(repo):
    site = Path(importlib.util.find_spec("torch").origin).parent.parent
    hidden = [part for path in site.glob("torch*") for part in ("--tmpfs", str(path)) if path.is_dir()]
    status, text = doctor(repo, wrapper=("bwrap", "--dev-bind", "/", "/", *hidden, "--tmpfs", "/dev/shm", "--"))
    assert status == 2
    assert "none" in red_line(text, "torch")
    assert "No module named 'torch" in red_line(text, "ranks")


def test_git(repo, tmp_path):
    status, text = doctor(repo, PATH=path_without(tmp_path / "bin", "git"))
    assert status == 2
    assert "apt-get install git" in red_line(text, "git")


def test_compiler(tiny_request, machine, tmp_path, monkeypatch):
    tier = PROFILES["tiny"].tier
    machine(tier=replace(tier, target=replace(tier.target, environment={"COMPILE": "1"})))
    assert check_results(tiny_request, checks.tools)["compiler"].state == GOOD
    monkeypatch.setenv("PATH", path_without(tmp_path / "bin", "cc", "gcc", "clang"))
    assert check_results(tiny_request, checks.tools)["compiler"].state == BAD
    assert "gcc" in check_results(tiny_request, checks.tools)["compiler"].fix


@torch
def test_ranks_compute_one_sum_in_the_sandbox(tiny_request, machine):
    tier = PROFILES["tiny"].tier
    machine(tier=replace(tier, target=replace(tier.target, ranks=2)))
    assert check_results(tiny_request, checks.ranks)["ranks"].actual.startswith("2 on ")


@no_gpu
def test_gpus(tiny_request, machine):
    machine(gpus=8)
    found = check_results(tiny_request, checks.gpus)
    assert (found["GPUs"].state, found["GPUs"].expected) == (BAD, "8")
    assert found["GPUs"].fix


def test_shards(repo):
    shard = repo / "shards" / "tiny"
    target = shard.resolve()
    shard.unlink()
    status, text = doctor(repo)
    assert status == 2
    assert "python -m data" in red_line(text, "shards")
    shutil.copytree(target, shard)
    with (shard / "dev" / "fineweb_val_000000.bin").open("r+b") as file:
        file.seek(5000)
        file.write(b"xx")
    assert "sha256" in red_line(doctor(repo)[1], "shards")


@needs_bwrap
def test_disk(repo):
    (repo / "trials").mkdir()
    small = ("bwrap", "--dev-bind", "/", "/", "--size", "1000000", "--tmpfs", str(repo / "trials"), "--")
    status, text = doctor(repo, wrapper=small)
    assert status == 2
    assert "make room" in red_line(text, "disk")


@needs_root
def test_inodes(repo):
    (repo / "trials").mkdir()
    mount = f'mount -t tmpfs -o size=8g,nr_inodes=60 none {repo}/trials && exec "$@"'
    wrapper = ("unshare", "--mount", "sh", "-c", mount, "sh")
    if subprocess.run([*wrapper, "true"], capture_output=True).returncode:
        pytest.skip("this container cannot mount")
    shutil.rmtree(repo / "trials")
    (repo / "trials").mkdir()
    assert "inodes free" in red_line(doctor(repo, wrapper=wrapper)[1], "inodes")


@pytest.mark.slow  # doctor tries eight ranks
@needs_bwrap
def test_shared_memory(repo):
    small = ("bwrap", "--dev-bind", "/", "/", "--size", "1000000", "--tmpfs", "/dev/shm", "--")
    status, text = doctor(repo, "--profile", "8xh100", wrapper=small)
    assert status == 2
    assert "shm-size" in red_line(text, "/dev/shm")


@needs_bwrap
def test_a_folder_that_cannot_be_written(repo):
    (repo / "trials").mkdir()
    wrapper = ("bwrap", "--dev-bind", "/", "/", "--ro-bind", str(repo / "trials"), str(repo / "trials"), "--")
    status, text = doctor(repo, wrapper=wrapper)
    assert status == 2
    assert "not writable" in red_line(text, "trials/")


def test_proposer(repo):
    status, text = doctor(repo, "--proposer", "command", "--command", "no-such-agent --fast")
    assert status == 2
    assert "--command" in red_line(text, "program")
    assert "ok    program" in doctor(repo, "--proposer", "command", "--command", "cat")[1]
    assert "one of auto" in red_line(doctor(repo, "--proposer", "oracle")[1], "proposer")
    assert PROPOSERS == tuple(IMPLEMENTED)


def test_key(tiny_request, api, monkeypatch):
    tiny_request = with_proposer(tiny_request, name="anthropic")
    assert check_results(tiny_request, checks.proposer)["key"].state == GOOD
    assert not api.requests  # a check costs nothing
    monkeypatch.setenv("ANTHROPIC_API_KEY", "another")
    line = check_results(tiny_request, checks.proposer)["key"]
    assert (line.state, line.fix) == (BAD, "export ANTHROPIC_API_KEY=…, or --proposer auto, which needs none")
    assert "401" in line.actual
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    assert check_results(tiny_request, checks.proposer)["key"].actual == "not set"
    monkeypatch.setenv("ANTHROPIC_API_KEY", "another")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    assert check_results(tiny_request, checks.proposer)["key"].state == BAD  # no server answers


def test_price_is_limited_by_trials_or_hours(tiny_request, monkeypatch):
    monkeypatch.setitem(PROFILES, "tiny", replace(PROFILES["8xh100"], corpus="tiny"))
    costly = replace(tiny_request, trials=30, hours=2.0)
    assert "2.0 h × $24.00/h = $48.00" in check_results(costly, checks.price)["price"].actual
    longer = replace(costly, trials=3, hours=12.0)
    assert "3.0 h × $24.00/h = $71.16" in check_results(longer, checks.price)["price"].actual


def test_every_result_says_what_is_expected(tiny_request):
    results = list(checks.examine(tiny_request))
    assert {line.state for line in results} <= {GOOD, NOTE, BAD}
    assert all(line.actual and line.expected for line in results)
    assert all(line.fix for line in results if line.state == BAD)


def test_inputs_of_a_proposer_must_exist(tiny_request, tmp_path):
    asked = with_proposer(
        tiny_request, name="command", command=sys.executable, show=[tmp_path / "none"], passed=["NO_SUCH"]
    )
    names = [line.actual for line in checks.proposer(asked) if line.what == "its input"]
    assert names == [f"no {tmp_path / 'none'}", "no NO_SUCH"]
    assert check_results(with_proposer(tiny_request, script=tmp_path), checks.proposer)["script"].state == BAD


def test_a_profile_of_another_machine_is_checked_up_to_its_gpus(repo, monkeypatch):
    table = ProfileTable("mine", gpus=1, gpu="4090", preset="one_gpu", corpus="tiny", minutes=5.0)
    monkeypatch.setitem(PROFILES, "tiny", replace(Profile.of(table), corpus="tiny"))
    request = RunRequest(run="night", profile="tiny", root=repo, elsewhere=True)
    results = check_results(request, checks.gpus, checks.ranks, checks.corpus)
    assert {name: result.state for name, result in results.items()} == {"GPUs": NOTE, "ranks": NOTE, "shards": GOOD} | (
        {"text": NOTE} if "text" in results else {}
    )
    assert "1 × 4090, on the machine of the run" in results["GPUs"].expected
