"""Isolation levels: the ones that work on this machine, and a job's command wrapped in one of them.

Levels, best first: `namespace` (bubblewrap: own mounts, processes, network), `landlock` (kernel rules and the system
call filter, for containers without namespaces), `none` (limits and a clean environment only). At the first two, a job
started by root runs as a user of its own, on the files of preflight/sandbox/image/image.py, and the same system call
filter applies.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from secrets import randbits

from common.errors import SandboxError
from preflight.sandbox.image.files import PYTHON
from preflight.sandbox.isolation import landlock, seccomp
from preflight.sandbox.isolation.landlock_rules import rules
from preflight.sandbox.isolation.namespace import mounts, namespaces, readable_once
from preflight.sandbox.isolation.seccomp import Needs
from preflight.sandbox.isolation.view import MEMORY_FOLDERS, START, View, job_paths

LEVELS = ("namespace", "landlock", "none")
PORTS_SINCE, SIGNALS_SINCE = 4, 6  # the Landlock versions that added rules for ports, and for signals out of the job
OPEN_FILES = 1024


@dataclass(frozen=True)
class IsolatedCommand:
    """A command wrapped in an isolation level, and the descriptors that it needs until it is started."""

    command: list[str]
    environment: dict[str, str]
    descriptors: tuple[int, ...]
    user: int | None


@functools.cache
def available_levels() -> tuple[str, ...]:
    """Return the levels that work on this machine, best first; each is tried, not assumed."""
    levels = []
    if shutil.which("bwrap"):
        trial = [*namespaces(Needs()), "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "/bin/true"]
        levels += ["namespace"] if subprocess.run(trial, capture_output=True).returncode == 0 else []
    levels += ["landlock"] if landlock.abi() > 0 else []
    return (*levels, "none")


def isolate(
    command: list[str], level: str, view: View, channel: int | None, socket_descriptor: int | None
) -> IsolatedCommand:
    """Wrap a command in an isolation level.

    Args:
        command: the program and its arguments, with the paths that the job sees.
        level: one of LEVELS.
        view: everything the job sees and may do.
        channel: the descriptor over which handles of the job's writable folders are sent to the supervisor.
        socket_descriptor: the referee's socket, which a scorer inherits.

    Raises:
        SandboxError: the level is unknown, or cannot isolate several ranks on this kernel.
    """
    if level not in LEVELS:
        raise SandboxError(f"unknown sandbox level {level!r}; expected one of {', '.join(LEVELS)}")
    user = (1 << 30) + randbits(28) if os.geteuid() == 0 and level != "none" and not view.needs.proposer else None
    if level == "landlock" and view.needs.ranks:
        _require_isolation_between_ranks(user)
    if level != "namespace":
        _lay_out_workspace(view, user)
    if level == "none":
        return IsolatedCommand(command, {}, (), None)
    paths = job_paths(level, view)
    signals_confined = level == "namespace" or user is not None or landlock.abi() >= SIGNALS_SINCE
    needs = replace(view.needs, own_signals=signals_confined or view.needs.ranks)
    spec: dict[str, object] = {
        "channel": channel,
        "socket": socket_descriptor,
        "writable": [paths["out"], *(MEMORY_FOLDERS if level == "namespace" else ())],
        "user": user,
        "limits": _limits(view, user),
        "filter": seccomp.program(needs).hex(),
        "landlock": rules(view, level, paths),
    }
    handle = readable_once(json.dumps(spec).encode())
    last_step = ["-I", "-S"]
    if level == "namespace":
        mount_arguments, descriptors = mounts(view)
        python = sys.executable if view.needs.proposer else str(PYTHON)
        start = [python, *last_step, START, str(handle), "--", *_with_interpreter(python, command)]
        bubblewrap = [*namespaces(view.needs, user is not None), *mount_arguments]
        return IsolatedCommand([*bubblewrap, *start], {}, (*descriptors, handle), user)
    if view.needs.proposer:
        return IsolatedCommand(
            [sys.executable, *last_step, landlock.__file__, str(handle), "--", *command], {}, (handle,), user
        )
    assert view.image is not None
    inner = _with_interpreter(str(view.image.inside(PYTHON.resolve())), command)
    outer = [sys.executable, *last_step, landlock.__file__, str(handle), "--", *inner]
    return IsolatedCommand(outer, view.image.python_environment(), (handle,), user)


def _with_interpreter(python: str, command: list[str]) -> list[str]:
    """Replace this process's interpreter in a command by the path at which the job finds it."""
    return [python if part == sys.executable else part for part in command]


def _require_isolation_between_ranks(user: int | None) -> None:
    """Raise SandboxError for a Landlock that cannot confine the sockets and signals of several ranks to the job."""
    needed = SIGNALS_SINCE if user is None else PORTS_SINCE
    if (version := landlock.abi()) < needed:
        raise SandboxError(
            f"got Landlock {version}, expected {needed} or newer for several ranks; or install bubblewrap"
        )


def clean_environment(temporary: str) -> dict[str, str]:
    """Return the whole environment of a candidate: nothing is inherited, and every cache is its own."""
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
    """Return the limits that the kernel enforces for each process; on threads only if this job has its own user."""
    limits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": view.disk_bytes, "RLIMIT_NOFILE": OPEN_FILES, "RLIMIT_MSGQUEUE": 0}
    if user is not None:
        limits["RLIMIT_NPROC"] = 2 * view.threads
    return limits


def _lay_out_workspace(view: View, user: int | None) -> None:
    """Make the job's folders, with copies of its inputs, where they cannot be mounted."""
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
