"""Doctor's lines: green where all is there, and red with what to type for each thing that is taken away."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support import ROOT, git

from experiments.asking import PROPOSERS
from experiments.checkup import BAD, GOOD, NOTE, Order
from experiments.doctor import examine
from experiments.tiers import PROFILES
from preflight.sandbox.isolation import available_levels
from proposers import PROPOSERS as KNOWN

torch = pytest.mark.torch
needs_bwrap = pytest.mark.skipif("namespace" not in available_levels(), reason="needs bubblewrap to take things away")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
no_gpu = pytest.mark.skipif(bool(shutil.which("nvidia-smi")), reason="this machine has a GPU")


@pytest.fixture
def order(repo) -> Order:
    return Order(repo, "night", "tiny", PROFILES["tiny"], "scripted", (), "", 3, 1.0)


def lines(order: Order) -> dict:
    return {line.what: line for line in examine(order)}


def doctor(root: Path, *options, wrapper=(), **environment):
    """The command in a process of its own, in changed surroundings; returns exit status and text."""
    command = [
        *wrapper,
        sys.executable,
        "-m",
        "experiments",
        "doctor",
        "--root",
        str(root),
        "--profile",
        "tiny",
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment})
    return done.returncode, done.stdout + done.stderr


def red(text: str, what: str) -> str:
    """The red line about `what` and what to type, which must follow it."""
    found = text.splitlines()
    number = next((i for i, line in enumerate(found) if line.startswith(f"bad   {what} ")), None)
    assert number is not None, text
    assert found[number + 1].strip().startswith("type: "), text
    assert "nothing starts" in found[-1]
    return found[number] + found[number + 1]


def tools_but(folder: Path, *missing: str) -> str:
    """A PATH with every program of this machine except some."""
    folder.mkdir()
    for place in os.environ["PATH"].split(":"):
        for program in sorted(Path(place).iterdir()) if Path(place).is_dir() else ():
            link = folder / program.name
            if program.name not in missing and not link.is_symlink():
                link.symlink_to(program)
    return str(folder)


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
    assert "none" in red(text, "torch")
    assert "No module named 'torch" in red(text, "ranks")


def test_git(repo, tmp_path):
    status, text = doctor(repo, PATH=tools_but(tmp_path / "bin", "git"))
    assert status == 2
    assert "apt-get install git" in red(text, "git")


def test_compiler(order, tmp_path, monkeypatch):
    compiled = replace(order.profile.tier.target, environment={"COMPILE": "1"})
    order = replace(order, profile=replace(order.profile, tier=replace(order.profile.tier, target=compiled)))
    assert lines(order)["compiler"].state == GOOD
    monkeypatch.setenv("PATH", tools_but(tmp_path / "bin", "cc", "gcc", "clang"))
    assert lines(order)["compiler"].state == BAD
    assert "gcc" in lines(order)["compiler"].type_this


@torch
def test_ranks_meet_in_one_sum_inside_the_sandbox(order):
    two = replace(order.profile.tier.target, ranks=2)
    order = replace(order, profile=replace(order.profile, tier=replace(order.profile.tier, target=two)))
    assert lines(order)["ranks"].found.startswith("2 on ")


@no_gpu
def test_gpus(order):
    found = lines(replace(order, profile=replace(order.profile, gpus=8)))
    assert (found["GPUs"].state, found["GPUs"].needed) == (BAD, "8")
    assert found["GPUs"].type_this


CONTAINER = """
import os, struct, sys
sys.path.insert(0, {root!r})
from preflight.sandbox import landlock
steps = [(0x20, 0, 0, 0)]  # the number of a call: mount, unshare, setns, and Landlock's own three
for number in (*{numbers}, *((444, 445, 446) if {without_landlock} else ())):
    steps += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050001)]
landlock.libc.prctl(landlock.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
landlock.filter_system_calls(b"".join(struct.pack("=HBBI", *step) for step in [*steps, (0x06, 0, 0, 0x7FFF0000)]))
os.execv(sys.argv[1], sys.argv[1:])
"""


def container(without_landlock: bool) -> tuple[str, ...]:
    """Where neither mounts nor namespaces may be made, as in most containers; Landlock may be missing too."""
    numbers = {"x86_64": (165, 272, 308), "aarch64": (40, 97, 268)}[platform.machine()]
    return (sys.executable, "-c", CONTAINER.format(root=str(ROOT), numbers=numbers, without_landlock=without_landlock))


@torch
@pytest.mark.skipif("landlock" not in available_levels(), reason="this kernel has no Landlock")
def test_a_container_without_namespaces_is_green_with_landlock(repo):
    status, text = doctor(repo, wrapper=container(without_landlock=False))
    assert status == 0, text
    assert "sandbox     landlock" in text
    assert "note    residue" in text  # names looked up in vain: pocket says so, and a dear profile refuses
    status, text = doctor(repo, "--profile", "h100", wrapper=container(without_landlock=False))
    assert "bad     residue" in text
    assert "or --unsafe" in text


def test_sandbox(repo):
    status, text = doctor(repo, wrapper=container(without_landlock=True))
    assert status == 2
    assert "bubblewrap" in red(text, "sandbox")
    _, text = doctor(repo, "--level", "none", wrapper=container(without_landlock=True))
    assert "ok    sandbox     none" in text  # only where a person says so


def test_shards(repo):
    shard = repo / "shards" / "tiny"
    target = shard.resolve()
    shard.unlink()
    status, text = doctor(repo)
    assert status == 2
    assert "python -m data" in red(text, "shards")
    shutil.copytree(target, shard)
    with (shard / "dev" / "fineweb_val_000000.bin").open("r+b") as file:
        file.seek(5000)
        file.write(b"xx")
    assert "sha256" in red(doctor(repo)[1], "shards")


@needs_bwrap
def test_disk(repo):
    (repo / "trials").mkdir()
    small = ("bwrap", "--dev-bind", "/", "/", "--size", "1000000", "--tmpfs", str(repo / "trials"), "--")
    status, text = doctor(repo, wrapper=small)
    assert status == 2
    assert "make room" in red(text, "disk")


@needs_root
def test_inodes(repo):
    (repo / "trials").mkdir()
    mount = f'mount -t tmpfs -o size=8g,nr_inodes=60 none {repo}/trials && exec "$@"'
    wrapper = ("unshare", "--mount", "sh", "-c", mount, "sh")
    if subprocess.run([*wrapper, "true"], capture_output=True).returncode:
        pytest.skip("this root may not mount")
    shutil.rmtree(repo / "trials")
    (repo / "trials").mkdir()
    assert "inodes free" in red(doctor(repo, wrapper=wrapper)[1], "inodes")


@needs_bwrap
def test_shared_memory(repo):
    small = ("bwrap", "--dev-bind", "/", "/", "--size", "1000000", "--tmpfs", "/dev/shm", "--")
    status, text = doctor(repo, "--profile", "8xh100", wrapper=small)
    assert status == 2
    assert "shm-size" in red(text, "/dev/shm")


@needs_bwrap
def test_a_folder_that_cannot_be_written(repo):
    (repo / "trials").mkdir()
    wrapper = ("bwrap", "--dev-bind", "/", "/", "--ro-bind", str(repo / "trials"), str(repo / "trials"), "--")
    status, text = doctor(repo, wrapper=wrapper)
    assert status == 2
    assert "not writable" in red(text, "trials/")


def test_repository(repo, monkeypatch):
    (repo / "base" / "model.py").write_text("half an edit")
    status, text = doctor(repo)
    assert "note  base/" in text
    assert "git config --global user.name" in text  # the tests' git has no identity: a note, trials have their own
    shutil.rmtree(repo / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(repo.parent))
    assert "git init" in red(doctor(repo)[1], "repository")


def test_push(repo, tmp_path):
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    assert "answers" in doctor(repo, "--push", str(tmp_path / "remote.git"))[1]
    status, text = doctor(repo, "--push", str(tmp_path / "nowhere.git"))
    assert status == 2
    assert "git remote" in red(text, "push")
    _, text = doctor(repo, "--push", "https://me:secret@127.0.0.1:9/x.git")
    assert "secret" not in text


def test_proposer(repo):
    status, text = doctor(repo, "--proposer", "command", "--command", "no-such-agent --fast")
    assert status == 2
    assert "--command" in red(text, "program")
    assert "ok    program" in doctor(repo, "--proposer", "command", "--command", "cat")[1]
    assert "one of auto" in red(doctor(repo, "--proposer", "oracle")[1], "proposer")
    assert PROPOSERS == tuple(KNOWN)


def test_key(order, api, monkeypatch):
    order = replace(order, proposer="anthropic")
    assert lines(order)["key"].state == GOOD
    assert not api.requests  # nothing that costs
    monkeypatch.setenv("ANTHROPIC_API_KEY", "another")
    line = lines(order)["key"]
    assert (line.state, line.type_this) == (BAD, "export ANTHROPIC_API_KEY=…, or --proposer auto, which needs none")
    assert "401" in line.found
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    assert lines(order)["key"].found == "not set"
    monkeypatch.setenv("ANTHROPIC_API_KEY", "another")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    assert lines(order)["key"].state == BAD  # nobody answers


def test_price_counts_trials_or_hours_whichever_ends_first(order):
    costly = replace(order, profile=replace(PROFILES["8xh100"], corpus="tiny"), trials=30, hours=2.0)
    assert "2.0 h × $24.00/h = $48.00" in lines(costly)["price"].found
    assert "3.0 h × $24.00/h = $71.16" in lines(replace(costly, trials=3, hours=12.0))["price"].found


def test_no_line_is_silent(order):
    found = list(examine(order))
    assert {line.state for line in found} <= {GOOD, NOTE, BAD}
    assert all(line.found and line.needed for line in found)
    assert all(line.type_this for line in found if line.state == BAD)


def test_what_a_proposer_is_given_is_there_before_the_night(order, tmp_path):
    program = tuple(sys.executable.split())
    asked = replace(order, proposer="command", command=program, show=(tmp_path / "none",), passed=("NO_SUCH",))
    names = [line.found for line in examine(asked) if line.what == "its view"]
    assert names == [f"no {tmp_path / 'none'}", "no NO_SUCH"]
    assert lines(replace(order, script=tmp_path))["script"].state == BAD
