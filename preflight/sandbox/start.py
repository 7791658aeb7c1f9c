"""Start a job in isolation: make the folder it sees, instruct its supervisor, and hand out a handle while it runs."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from common.errors import SandboxError
from preflight.sandbox.channel import listen
from preflight.sandbox.cleanup import LOCK_NAME, marker, remove_tree
from preflight.sandbox.image import image
from preflight.sandbox.image.page_cache import read_all_into_memory
from preflight.sandbox.isolation.landlock import SOCKET_DESCRIPTOR
from preflight.sandbox.isolation.levels import clean_environment, isolate
from preflight.sandbox.isolation.seccomp import Needs
from preflight.sandbox.isolation.view import View, gpu_devices, job_paths
from preflight.sandbox.job import Job, Outcome
from preflight.sandbox.running import RunningJob
from preflight.sandbox.workspace import make_readable, make_workspace

RELEASED_FOLDER = "train"  # appears in the view when the clock starts
ROOT = Path(__file__).resolve().parent.parent.parent


@contextmanager
def start(job: Job, with_socket: bool = False) -> Iterator[RunningJob]:
    """Start a job; leaving the context ends it and every descendant, and removes every folder it saw.

    Args:
        job: the program, its inputs and its limits.
        with_socket: let {socket} be the address of a socket whose other end is `RunningJob.connect()`: an inherited
            one, which needs no right to open sockets, or, since torchrun cannot pass one on, one to connect to.

    Raises:
        SandboxError: the sandbox cannot be set up on this machine.

    Example:
        with start(Job((sys.executable, "-c", "print(1)"), folder, Limits(60, 60))) as running:
            outcome = running.wait()
    """
    job.out.mkdir(parents=True, exist_ok=True)  # a proposer's program expects its copy there
    with contextlib.ExitStack() as cleanups:
        used_image = cleanups.enter_context(image.lease()) if job.level != "none" and not job.internet else None
        if used_image and job.level == "landlock":  # in a namespace no file of a disk is visible
            read_all_into_memory(tuple(used_image.loaded_by_path()))
        workspace = make_workspace(job)
        cleanups.callback(remove_tree, workspace)
        (job.folder / LOCK_NAME).write_text(  # read by `cleanup.reap` after a crash
            str(workspace), encoding="utf-8", errors="surrogateescape"
        )
        with _connection(job, workspace, with_socket) as (harness_end, job_end, address):
            if harness_end:
                cleanups.enter_context(harness_end)
            process = _launch_supervisor(job, workspace, used_image, job_end, address)
        running = RunningJob(job, process, harness_end)
        try:
            yield running
        finally:
            with contextlib.suppress(SandboxError):  # a missing report has been raised before, or no one waits for it
                running.stop()
            if running.socket:
                running.socket.close()


@contextmanager
def _connection(
    job: Job, workspace: Path, with_socket: bool
) -> Iterator[tuple[socket.socket | None, socket.socket | None, str]]:
    """Open a connection: the harness's end, the job's end if it inherits one, and the address passed to the job."""
    if not with_socket:
        yield None, None, ""
    elif job.ranks > 1:
        harness_end, address = listen(job, workspace)
        yield harness_end, None, address
    else:
        harness_end, job_end = socket.socketpair()
        with job_end:
            yield harness_end, job_end, f"fd:{job_end.fileno() if job.level == 'none' else SOCKET_DESCRIPTOR}"


def _launch_supervisor(
    job: Job, workspace: Path, used_image: image.Image | None, job_end: socket.socket | None, address: str
) -> "subprocess.Popen[str]":
    """Start the job's supervisor and send it its instructions."""
    with contextlib.ExitStack() as cleanups:  # the descriptors belong to the supervisor alone from then on
        channel = socket.socketpair() if job.level != "none" else None
        for end in channel or ():
            cleanups.enter_context(end)
        instructions, descriptors = _instructions(job, workspace, used_image, address, job_end, channel)
        for handle in descriptors:
            cleanups.callback(os.close, handle)
        ends = [end.fileno() for end in (*(channel or ()), job_end) if end]
        process = subprocess.Popen(
            [sys.executable, "-S", "-m", "preflight.sandbox.supervisor"],  # no site: it needs none, and starts sooner
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the harness, which then ends its jobs in order
            cwd=ROOT,
            env={"LANG": "C.UTF-8", "PATH": os.defpath},
            pass_fds=(*descriptors, *ends),
        )
    assert process.stdin is not None
    process.stdin.write(json.dumps(instructions))
    process.stdin.close()
    process.stdin = None
    return process


def run(job: Job) -> Outcome:
    """Run a job to its end; see `start` for what it raises."""
    with start(job) as running:
        return running.wait()


def wipe_shared_state() -> None:
    """Move all later jobs to new inodes, so that no mark left by an earlier job is within their reach."""
    image.wipe()


def _instructions(
    job: Job,
    workspace: Path,
    used_image: image.Image | None,
    address: str,
    job_end: socket.socket | None,
    channel: tuple[socket.socket, socket.socket] | None,
) -> tuple[dict[str, object], tuple[int, ...]]:
    """Return the supervisor's instructions, and the descriptors that the job's program is started with."""
    target = workspace / job.release[1] / RELEASED_FOLDER if job.release else None
    view = _view(job, workspace, used_image, address)
    paths = job_paths(job.level, view)
    placeholders = {**paths, "socket": address.replace("{wire}", paths["wire"])}

    def substitute(text: str) -> str:
        for name, value in placeholders.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    temporary = "/tmp" if job.level == "namespace" else str(workspace / "scratch")
    inherited = job_end.fileno() if job_end else None
    command = [substitute(part) for part in job.command]
    isolated = isolate(command, job.level, view, channel[1].fileno() if channel else None, inherited)
    environment = {**clean_environment(temporary), **isolated.environment}
    environment |= {"GLOO_SOCKET_IFNAME": "lo"} if job.ranks > 1 else {}
    environment |= {name: substitute(value) for name, value in job.environment.items()}
    environment |= dict([marker(job.folder).split("=", 1)])
    own_disk = job.level == "namespace" and not job.internet
    job_descriptors = [*isolated.descriptors, *([channel[1].fileno()] if channel else [])]
    instructions: dict[str, object] = {
        "command": isolated.command,
        "environment": environment,
        "lock": str(job.folder / LOCK_NAME),
        "parent": os.getpid(),
        "workspace": str(workspace),
        "out": str(view.out or workspace / "out"),
        "collect": None if job.internet else str(job.out),
        "channel": channel[0].fileno() if channel else None,
        "polled": [] if own_disk else [str(view.out or workspace / "out"), str(workspace / "scratch")],
        "log": str(job.log),
        "release": [str(job.release[0]), str(target)] if job.release else [],
        "follow": list(job.follow),
        "gpu": view.needs.gpu,
        "stdin": str(job.stdin or os.devnull),
        "pass_fds": [*job_descriptors, *([inherited] if inherited else [])],
        "limits": asdict(job.limits),
    }
    return instructions, isolated.descriptors


def _view(job: Job, workspace: Path, used_image: image.Image | None, address: str) -> View:
    """Return the job's view of the machine.

    A folder among its inputs is copied, because the original would remember names that were looked up without success.
    """
    inputs = dict(job.inputs)
    for name, path in job.inputs.items():
        if path.is_dir():
            inputs[name] = make_readable(shutil.copytree(path, workspace / name))
    return View(
        workspace,
        used_image,
        inputs,
        job.host_paths,
        job.out if job.internet else None,
        Needs(job.ranks > 1, job.internet, bool(gpu_devices()) and not job.internet, job.level == "namespace"),
        int(address.removeprefix("tcp:")) if address.startswith("tcp:") else 0,
        job.limits.disk_bytes,
        job.limits.temporary_bytes,
        job.limits.threads,
    )
