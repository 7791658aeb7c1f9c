"""TCP ports on which the ranks of one job may meet when it has no network of its own: the machine's free ones."""

from pathlib import Path

LISTENING = "0A"


def free() -> list[int]:
    """Return 0, which lets the kernel choose, and all ports it chooses from except those with a listener now."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="utf-8").split())
    taken = _taken()
    return [0, *(port for port in range(first, last + 1) if port not in taken)]


def _taken() -> set[int]:
    ports = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text(encoding="utf-8").splitlines()[1:] if table.exists() else ():
            fields = line.split()
            if fields[3] == LISTENING:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports
