"""The listening socket to which rank 0 of a scorer connects."""

import os
import socket
from pathlib import Path

from preflight.sandbox.job import Job
from preflight.sandbox.workspace import make_readable

SOCKET_NAME = "socket"


def listen(job: Job, workspace: Path) -> tuple[socket.socket, str]:
    """Open the socket for rank 0: a Unix socket in a folder that only this job sees, else a loopback port.

    A Unix socket is bound through /proc because such paths may have 107 bytes only.

    Returns:
        The socket, and its address as it is written on the job's command line.
    """
    if job.level != "namespace":
        listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        return listener, f"tcp:{listener.getsockname()[1]}"
    (workspace / "wire").mkdir()
    make_readable(workspace / "wire")
    handle = os.open(workspace / "wire", os.O_PATH | os.O_DIRECTORY)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"/proc/self/fd/{handle}/{SOCKET_NAME}")
    listener.listen(1)
    os.close(handle)
    (workspace / "wire" / SOCKET_NAME).chmod(0o666)
    return listener, f"{{wire}}/{SOCKET_NAME}"
