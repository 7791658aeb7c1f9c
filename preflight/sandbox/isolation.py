"""What stands between a job and the machine: which levels work here, and a command put behind one of them.

Levels, best first: `namespace` (bubblewrap: own mounts, processes, network), `landlock` (kernel rules and the system
call filter, for containers without namespaces), `none` (limits and a clean environment only). At both real levels a
job of root runs as a user of its own, on the files of preflight/sandbox/image.py, behind one system call filter.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from secrets import randbits

from data.errors import SandboxError
from preflight.sandbox import landlock, seccomp
from preflight.sandbox.image_files import PYTHON
from preflight.sandbox.namespace import mounts, namespaces, readable_once
from preflight.sandbox.rules import rules
from preflight.sandbox.seccomp import Needs
from preflight.sandbox.view import MEMORY_FOLDERS, START, View, places

LEVELS = ("namespace", "landlock", "none")
PORTS_SINCE, SIGNALS_SINCE = 4, 6  # Landlock's versions that know ports, and that keep signals in the job
OPEN_FILES = 1024


@dataclass(frozen=True)
class Isolated:
    """A command behind its walls, and the descriptors that it needs until it is started."""

    command: list[str]
    environment: dict[str, str]
    descriptors: tuple[int, ...]
    user: int | None


@functools.cache
def available_levels() -> tuple[str, ...]:
    """Levels that work on this machine, best first; each is tried, not assumed."""
    found = []
    if shutil.which("bwrap"):
        trial = [*namespaces(Needs()), "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "/bin/true"]
        found += ["namespace"] if subprocess.run(trial, capture_output=True).returncode == 0 else []
    found += ["landlock"] if landlock.abi() > 0 else []
    return (*found, "none")


def isolated(command: list[str], level: str, view: View, channel: int | None, conversation: int | None) -> Isolated:
    """`command` behind the walls of `level`; over `channel` the job's OUT is handed to the supervisor.

    `conversation` is the descriptor that a scorer inherits.
    """
    if level not in LEVELS:
        raise SandboxError(f"unknown sandbox level {level!r}; expected one of {', '.join(LEVELS)}")
    user = (1 << 30) + randbits(28) if os.geteuid() == 0 and level != "none" and not view.needs.proposer else None
    if level == "landlock" and view.needs.ranks:
        _require_walls_between_ranks(user)
    if level != "namespace":
        _lay_out(view, user)
    if level == "none":
        return Isolated(command, {}, (), None)
    at = places(level, view)
    scoped = level == "namespace" or user is not None or landlock.abi() >= SIGNALS_SINCE
    needs = replace(view.needs, own_signals=scoped or view.needs.ranks)
    spec: dict[str, object] = {
        "channel": channel,
        "conversation": conversation,
        "writable": [at["out"], *(MEMORY_FOLDERS if level == "namespace" else ())],
        "user": user,
        "limits": _limits(view, user),
        "filter": seccomp.program(needs).hex(),
        "landlock": rules(view, level, at),
    }
    handle = readable_once(json.dumps(spec).encode())
    last_step = ["-I", "-S"]
    if level == "namespace":
        shown, descriptors = mounts(view)
        python = sys.executable if view.needs.proposer else str(PYTHON)
        start = [python, *last_step, START, str(handle), "--", *_with(python, command)]
        return Isolated([*namespaces(view.needs, user is not None), *shown, *start], {}, (*descriptors, handle), user)
    if view.needs.proposer:
        return Isolated(
            [sys.executable, *last_step, landlock.__file__, str(handle), "--", *command], {}, (handle,), user
        )
    assert view.image is not None
    used = view.image
    inner = _with(str(used.inside(PYTHON.resolve())), command)
    outer = [sys.executable, *last_step, landlock.__file__, str(handle), "--", *inner]
    return Isolated(outer, used.python_environment(), (handle,), user)


def _with(python: str, command: list[str]) -> list[str]:
    """A command on the interpreter as the job finds it."""
    return [python if part == sys.executable else part for part in command]


def _require_walls_between_ranks(user: int | None) -> None:
    """Several ranks need sockets and signals, which older kernels cannot keep to the job."""
    needed = SIGNALS_SINCE if user is None else PORTS_SINCE
    if (found := landlock.abi()) < needed:
        raise SandboxError(f"got Landlock {found}, expected {needed} or newer for several ranks; or install bubblewrap")


def clean_environment(temporary: str) -> dict[str, str]:
    """All of the environment that a candidate gets: nothing is passed on, every cache is its own."""
    return {
        "PATH": f"{PYTHON.parent}:{os.defpath}",
        "LANG": "C.UTF-8",
        "USER": "caddie",
        "HOME": temporary,
        "TMPDIR": temporary,
        "XDG_CACHE_HOME": temporary,
        "TORCHINDUCTOR_CACHE_DIR": f"{temporary}/inductor",
        "TRITON_CACHE_DIR": f"{temporary}/triton",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
    }


def _limits(view: View, user: int | None) -> dict[str, int]:
    """What the kernel holds by itself for each process; threads only where they are counted for this job alone."""
    found = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": view.disk_bytes, "RLIMIT_NOFILE": OPEN_FILES, "RLIMIT_MSGQUEUE": 0}
    if user is not None:
        found["RLIMIT_NPROC"] = 2 * view.threads
    return found


def _lay_out(view: View, user: int | None) -> None:
    """Copies of the inputs and the job's own folders, where no mount can show them."""
    inputs = view.workspace / "in"
    inputs.mkdir()
    inputs.chmod(0o755)
    for name, path in view.inputs.items():
        if path.is_dir():
            (inputs / name).symlink_to(path)
        else:
            shutil.copyfile(path, inputs / name)
            (inputs / name).chmod(0o444)
    for name in ("out", "scratch"):
        (view.workspace / name).mkdir(mode=0o700, exist_ok=True)
        if user is not None:
            os.chown(view.workspace / name, user, user)
