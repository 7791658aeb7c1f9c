"""Servers that stand outside the walls, for tests that nobody inside reaches them."""

import functools
import socket
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def servers(folder):
    """What listens outside: addresses by name, and a set that fills with the names of those that were reached."""
    with ExitStack() as stack:
        reached, addresses = set(), {}
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            own.connect(("192.0.2.1", 9))  # sends nothing; the kernel says from which address it would
            here = own.getsockname()[0]
        except OSError:
            here = "127.0.0.1"
        own.close()
        path = str(folder / "outside")
        for name, family, kind, address in (
            ("tcp", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            ("tcp to the machine's own address", socket.AF_INET, socket.SOCK_STREAM, (here, 0)),
            ("tcp 6", socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
            ("udp", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            ("udp to the machine's own address", socket.AF_INET, socket.SOCK_DGRAM, (here, 0)),
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
            ask = server.accept if kind == socket.SOCK_STREAM else functools.partial(server.recv, 9)
            stack.callback(listen(ask, name, reached))
        yield addresses, reached


def listen(ask, name, reached):
    """Notes who comes; returns what ends it."""
    over = threading.Event()

    def wait():
        while True:
            try:
                got = ask()
                reached.add(name)
                if isinstance(got, tuple):
                    got[0].close()
            except TimeoutError:
                if over.is_set():
                    return

    thread = threading.Thread(target=wait)
    thread.start()
    return lambda: (over.set(), thread.join())
