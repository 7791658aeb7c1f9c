"""Isolation at every level that this machine offers: each test is a hostile program in a real sandbox."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.sandbox import LEVELS, at_every_level, make_job, run_for_json
from helpers.tiny_profile import ROOT


def test_this_machine_offers_isolation():
    if not LEVELS and not os.environ.get("CADDIE_REQUIRE_SANDBOX"):
        pytest.skip("neither bubblewrap nor Landlock works here; CI sets CADDIE_REQUIRE_SANDBOX=1 and fails")
    assert LEVELS


@at_every_level
def test_no_key_in_any_environment(tmp_path, level, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret-of-the-user")
    source = """
import glob, json, os
environments = []
for path in glob.glob("/proc/*/environ") + ["/proc/self/environ", "/proc/1/environ"]:
    try:
        environments.append(open(path, "rb").read().decode("latin1"))
    except OSError:
        pass
print(json.dumps([dict(os.environ), environments]))
"""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as neighbour:
        environment, other_environments = run_for_json(make_job(tmp_path, level, source))
        neighbour.communicate(b"\n")
    assert "sk-secret" not in json.dumps([environment, other_environments])
    allowed = {"PATH", "LANG", "USER", "HOME", "TMPDIR", "XDG_CACHE_HOME", "PWD", "LC_CTYPE", "CADDIE_JOB"}
    allowed |= {"TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "LD_LIBRARY_PATH"}
    assert {name for name in environment if not name.startswith("PYTHON")} <= allowed


@at_every_level
def test_only_the_view_can_be_read(tmp_path, level):
    (tmp_path / "view").mkdir()
    (tmp_path / "view" / "mine.txt").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dev.bin").write_text("held out")
    hidden = [tmp_path / "other" / "dev.bin", tmp_path, ROOT / "common" / "limits.py", ROOT / "experiments"]
    hidden += [ROOT / ".git", Path.home(), Path("/etc/passwd"), Path("/etc/shadow"), Path(f"/proc/{os.getpid()}/cwd")]
    assert all(path.exists() for path in hidden)  # else nothing is hidden
    source = f"""
import json, os, sys
seen = []
for path in {[str(path) for path in hidden]!r}:
    try:
        os.listdir(path) if os.path.isdir(path) else open(path).read()
        names = os.listdir(path) if os.path.isdir(path) else ["content"]
        seen.append([path, names])
    except OSError:
        pass
print(json.dumps([open(sys.argv[1] + "/view/mine.txt").read(), seen]))
"""
    mine, seen = run_for_json(make_job(tmp_path, level, source, inputs={"view": tmp_path / "view"}))
    assert mine == "mine"
    # In a namespace the paths to the interpreter exist as folders; nothing else of them is there.
    leaks = [(path, names) for path, names in seen if set(names) - {"bin", ".venv", ".pyenv"}]
    assert not leaks


@at_every_level
def test_nothing_outside_out_can_be_written(tmp_path, level):
    (tmp_path / "view").mkdir()
    (tmp_path / "view" / "shard").write_text("x")
    targets = [ROOT / "stolen", tmp_path / "stolen", tmp_path / "view" / "shard", tmp_path / "job" / "stolen"]
    targets += [Path("/usr/stolen"), Path(sys.prefix) / "stolen", Path("/stolen"), Path("/etc/stolen")]
    source = f"""
import json, sys
written = []
for path in {[str(path) for path in targets]!r} + [sys.argv[1] + "/view/shard", sys.argv[1] + "/view/new", "/job/x"]:
    try:
        open(path, "w").write("x")
        written.append(path)
    except OSError:
        pass
open("mine", "w").write("x")
print(json.dumps(written))
"""
    assert not run_for_json(make_job(tmp_path, level, source, inputs={"view": tmp_path / "view"}))
    assert (tmp_path / "job" / "out" / "mine").read_text() == "x"
    assert (tmp_path / "view" / "shard").read_text() == "x"
    assert not [path for path in targets if path.name == "stolen" and path.exists()]


@at_every_level
def test_nothing_is_left_for_the_next_phase(tmp_path, level):
    folders = "['/tmp', '/var/tmp', '/dev/shm', os.environ['HOME'], os.environ['TMPDIR'], os.environ['XDG_CACHE_HOME']]"
    write = f"""
import ctypes, json, os
written = []
for folder in {folders}:
    try:
        open(folder + "/caddie_left", "w").write("x")
        written.append(folder)
    except OSError:
        pass
shm = ctypes.CDLL(None).shmget(0x5eed, 4096, 0o1666)
print(json.dumps([written, shm]))
"""
    look = f"""
import ctypes, json, os
left = [folder for folder in {folders} if os.path.exists(folder + "/caddie_left")]
print(json.dumps([left, ctypes.CDLL(None).shmget(0x5eed, 4096, 0)]))
"""
    run_for_json(make_job(tmp_path, level, write))
    left, shm = run_for_json(make_job(tmp_path, level, look, name="next"))
    assert left == []
    assert shm == -1
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        assert not (Path(folder) / "caddie_left").exists()
    assert not (tmp_path / "job" / "scratch").exists()


@at_every_level
def test_no_network(tmp_path, level):
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = f"""
import json, socket
try:
    socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), timeout=2)
    print(json.dumps("connected"))
except OSError as error:
    print(json.dumps("refused"))
"""
        assert run_for_json(make_job(tmp_path, level, source)) == "refused"


@at_every_level
def test_no_attribute_of_an_input_can_be_changed(tmp_path, level):
    """Modes, times and extended attributes would carry messages between phases."""
    (tmp_path / "view").mkdir()
    shard = tmp_path / "view" / "shard"
    shard.write_text("x")
    before = shard.stat()
    source = """
import json, os, sys
done = []
shard = sys.argv[1] + "/view/shard"
for name, change in {
    "chmod": lambda path: os.chmod(path, 0o777),
    "chown": lambda path: os.chown(path, 1, 1),
    "utime": lambda path: os.utime(path, (1, 1)),
    "setxattr": lambda path: os.setxattr(path, "user.letter", b"hello"),
}.items():
    try:
        change(shard)
        done.append(name)
    except OSError:
        pass
print(json.dumps(done))
"""
    assert run_for_json(make_job(tmp_path, level, source, inputs={"view": tmp_path / "view"})) == []
    after = shard.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime) == (before.st_mode, before.st_uid, before.st_mtime)
    assert os.listxattr(shard) == []
