"""Start a job behind its walls: the folder it sees, its orders for the supervisor, and the handle of one that runs."""

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

from data.errors import SandboxError
from preflight.sandbox import image, process_tree
from preflight.sandbox.cleanup import LOCK_NAME, discard, marker
from preflight.sandbox.isolation import clean_environment, isolated
from preflight.sandbox.job import Job, Outcome
from preflight.sandbox.landlock import CONVERSATION
from preflight.sandbox.page_cache import read_all_into_memory
from preflight.sandbox.seccomp import Needs
from preflight.sandbox.view import View, gpu_devices, places
from preflight.sandbox.workspace import make_workspace, readable

SOCKET_NAME = "socket"
RELEASED = "train"  # the folder that appears in the view when the clock starts
ROOT = Path(__file__).resolve().parent.parent.parent


class Running:
    """A started job; `socket` is the harness's end of its conversation, or where the candidate will connect."""

    def __init__(self, job: Job, process: "subprocess.Popen[str]", ours: socket.socket | None) -> None:
        self.job, self.process, self.socket = job, process, ours
        self.listening = job.ranks > 1
        self._outcome: Outcome | None = None

    def connect(self) -> socket.socket | None:
        """The conversation's socket; None if the job ended before it connected."""
        while self.socket and self.listening:
            self.socket.settimeout(0.2)
            try:
                listener, (self.socket, _) = self.socket, self.socket.accept()
                listener.close()
                self.listening = False
            except TimeoutError:
                if self.process.poll() is not None:
                    return None
        return self.socket

    def cpu_seconds(self) -> float:
        """CPU seconds of the candidate's tree so far."""
        return process_tree.sample(self.process.pid).cpu_seconds

    def wait(self) -> Outcome:
        if self._outcome is None:
            report = "" if self.process.stdout is None or self.process.stdout.closed else self.process.communicate()[0]
            try:
                self._outcome = Outcome(**json.loads(report))
            except (ValueError, TypeError) as error:
                process_tree.end_marked(marker(self.job.folder))
                raise SandboxError(f"the supervisor ended with {self.process.returncode} and no report") from error
        return self._outcome

    def settle(self, seconds: float = 10.0) -> Outcome | None:
        """The outcome if the job ends by itself within `seconds`."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return self.wait()

    def stop(self) -> Outcome:
        """End the job now, whatever it is doing."""
        self.process.terminate()
        return self.wait()


@contextmanager
def start(job: Job, converse: bool = False) -> Iterator[Running]:
    """Start a job; it is over, with every descendant and every folder it saw, when the context is left.

    With `converse`, {socket} becomes the address of a socket whose other end is `Running.connect()`: an inherited one,
    which needs no right to open sockets, or one to connect to where torchrun stands between.
    """
    job.out.mkdir(parents=True, exist_ok=True)  # a proposer's program finds its copy there
    with contextlib.ExitStack() as held:
        used = held.enter_context(image.lease()) if job.level != "none" and not job.internet else None
        if used and job.level == "landlock":  # in a namespace no file of a disk is shown
            read_all_into_memory(tuple(used.loaded_by_path()))
        workspace = make_workspace(job)
        held.callback(discard, workspace)
        (job.folder / LOCK_NAME).write_text(
            str(workspace), encoding="utf-8", errors="surrogateescape"
        )  # for who finds it after a crash
        with _connected(job, workspace, converse) as (ours, theirs, address):
            if ours:
                held.enter_context(ours)
            process = _started(job, workspace, used, theirs, address)
        running = Running(job, process, ours)
        try:
            yield running
        finally:
            with contextlib.suppress(SandboxError):  # a supervisor without a report has been named, or nobody waits
                running.stop()
            if running.socket:
                running.socket.close()


@contextmanager
def _connected(
    job: Job, workspace: Path, converse: bool
) -> Iterator[tuple[socket.socket | None, socket.socket | None, str]]:
    """The harness's end of a conversation, the job's where it inherits one, and the address that the job is told."""
    if not converse:
        yield None, None, ""
    elif job.ranks > 1:
        ours, address = _listen(job, workspace)
        yield ours, None, address
    else:
        ours, theirs = socket.socketpair()
        with theirs:
            yield ours, theirs, f"fd:{theirs.fileno() if job.level == 'none' else CONVERSATION}"


def _started(
    job: Job, workspace: Path, used: image.Image | None, theirs: socket.socket | None, address: str
) -> "subprocess.Popen[str]":
    """The job's supervisor, with its orders."""
    with contextlib.ExitStack() as held:  # what the supervisor has as its own from then on
        channel = socket.socketpair() if job.level != "none" else None
        for end in channel or ():
            held.enter_context(end)
        orders, descriptors = _orders(job, workspace, used, address, theirs, channel)
        for handle in descriptors:
            held.callback(os.close, handle)
        ends = [end.fileno() for end in (*(channel or ()), theirs) if end]
        process = subprocess.Popen(
            [sys.executable, "-m", "preflight.sandbox.supervisor"],
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
    process.stdin.write(json.dumps(orders))
    process.stdin.close()
    process.stdin = None
    return process


def run(job: Job) -> Outcome:
    """Run a job to its end."""
    with start(job) as running:
        return running.wait()


def wipe_shared_state() -> None:
    """From here on jobs run on other inodes than those before: no mark of an earlier one is in their reach."""
    image.wipe()


def _listen(job: Job, workspace: Path) -> tuple[socket.socket, str]:
    """Where rank 0 will connect: a Unix socket in a folder that only this job is shown, else a loopback port.

    A Unix socket is bound through /proc because such paths may have 107 bytes only.
    """
    if job.level != "namespace":
        listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        return listener, f"tcp:{listener.getsockname()[1]}"
    (workspace / "wire").mkdir()
    readable(workspace / "wire")
    handle = os.open(workspace / "wire", os.O_PATH | os.O_DIRECTORY)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"/proc/self/fd/{handle}/{SOCKET_NAME}")
    listener.listen(1)
    os.close(handle)
    (workspace / "wire" / SOCKET_NAME).chmod(0o666)
    return listener, f"{{wire}}/{SOCKET_NAME}"


def _orders(
    job: Job,
    workspace: Path,
    used: image.Image | None,
    address: str,
    theirs: socket.socket | None,
    channel: tuple[socket.socket, socket.socket] | None,
) -> tuple[dict[str, object], tuple[int, ...]]:
    """What the supervisor is to do, and the descriptors that the job's program is started with."""
    inputs = dict(job.inputs)
    for name, path in job.inputs.items():
        if path.is_dir():  # a folder that two jobs were shown would remember what was looked up in vain
            inputs[name] = readable(shutil.copytree(path, workspace / name))
    target = workspace / job.release[1] / RELEASED if job.release else None
    needs = Needs(job.ranks > 1, job.internet, bool(gpu_devices()) and not job.internet, job.level == "namespace")
    view = View(
        workspace,
        used,
        inputs,
        job.host_paths,
        job.out if job.internet else None,
        needs,
        int(address.removeprefix("tcp:")) if address.startswith("tcp:") else 0,
        job.limits.disk_bytes,
        job.limits.temporary_bytes,
        job.limits.threads,
    )
    at = places(job.level, view)
    words = {**at, "socket": address.replace("{wire}", at["wire"])}

    def placed(text: str) -> str:
        for name, place in words.items():
            text = text.replace(f"{{{name}}}", place)
        return text

    temporary = "/tmp" if job.level == "namespace" else str(workspace / "scratch")
    handed = theirs.fileno() if theirs else None
    behind = isolated(
        [placed(part) for part in job.command], job.level, view, channel[1].fileno() if channel else None, handed
    )
    environment = {**clean_environment(temporary), **behind.environment}
    environment |= {"GLOO_SOCKET_IFNAME": "lo"} if job.ranks > 1 else {}
    environment |= {name: placed(value) for name, value in job.environment.items()}
    environment |= dict([marker(job.folder).split("=", 1)])
    orders: dict[str, object] = {
        "command": behind.command,
        "environment": environment,
        "lock": str(job.folder / LOCK_NAME),
        "parent": os.getpid(),
        "workspace": str(workspace),
        "out": str(view.out or workspace / "out"),
        "collect": None if job.internet else str(job.out),
        "channel": channel[0].fileno() if channel else None,
        "polled": []
        if job.level == "namespace" and not job.internet
        else [str(view.out or workspace / "out"), str(workspace / "scratch")],
        "log": str(job.log),
        "release": [str(job.release[0]), str(target)] if job.release else [],
        "follow": list(job.follow),
        "gpu": needs.gpu,
        "stdin": str(job.stdin or os.devnull),
        "pass_fds": [*behind.descriptors, *([channel[1].fileno()] if channel else []), *([handed] if handed else [])],
        "limits": asdict(job.limits),
    }
    return orders, behind.descriptors
