"""Servers outside the sandbox, for tests that no program inside can reach them."""

import functools
import socket
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def servers(folder):
    """Start servers; yield their addresses by name, and a set that collects the names of those that were reached."""
    with ExitStack() as stack:
        reached, addresses = set(), {}
        probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing, but selects the address it would send from
            own_address = probe.getsockname()[0]
        except OSError:
            own_address = "127.0.0.1"
        probe.close()
        path = str(folder / "outside")
        for name, family, kind, address in (
            ("tcp", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            ("tcp to the machine's own address", socket.AF_INET, socket.SOCK_STREAM, (own_address, 0)),
            ("tcp 6", socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
            ("udp", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            ("udp to the machine's own address", socket.AF_INET, socket.SOCK_DGRAM, (own_address, 0)),
            ("a Unix socket", socket.AF_UNIX, socket.SOCK_STREAM, path),
            ("a Unix datagram socket", socket.AF_UNIX, socket.SOCK_DGRAM, f"{path}2"),
            ("an abstract socket", socket.AF_UNIX, socket.SOCK_STREAM, f"\0{folder.name}"),
        ):
            try:
                server = stack.enter_context(socket.socket(family, kind))
                server.bind(address)
            except OSError:
                continue  # a machine without IPv6
            if isinstance(address, str) and address.startswith("/"):
                Path(address).chmod(0o777)
            if kind == socket.SOCK_STREAM:
                server.listen()
            addresses[name] = [
                int(family),
                int(kind),
                server.getsockname()[:2] if family != socket.AF_UNIX else address,
            ]
            server.settimeout(0.1)
            receive = server.accept if kind == socket.SOCK_STREAM else functools.partial(server.recv, 9)
            stack.callback(listen(receive, name, reached))
        yield addresses, reached


def listen(receive, name, reached):
    """Record in a thread whether the server is reached; return a function that stops it."""
    stopped = threading.Event()

    def wait():
        while True:
            try:
                received = receive()
                reached.add(name)
                if isinstance(received, tuple):
                    received[0].close()
            except TimeoutError:
                if stopped.is_set():
                    return

    thread = threading.Thread(target=wait)
    thread.start()
    return lambda: (stopped.set(), thread.join())
