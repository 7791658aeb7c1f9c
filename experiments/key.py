"""The API key without an environment: held in memory behind a descriptor, which no trial inherits.

As a program, `python experiments/key.py COMMAND …` moves the key out of the environment and becomes COMMAND: whoever
may read /proc/PID/environ of what runs beside a trial finds no key there. Needs nothing but Python.
"""

import os
import sys

VARIABLE, DESCRIPTOR = "ANTHROPIC_API_KEY", "CADDIE_KEY_FD"
LONGEST_BYTES = 4096


def hide(command: list[str]) -> None:
    """Become `command` with the key behind a descriptor; returns only where there is no key in the environment."""
    key = os.environ.pop(VARIABLE, "").strip()
    if key:
        held = os.memfd_create("key", 0)
        os.write(held, key.encode())
        os.environ[DESCRIPTOR] = str(held)
        os.execvpe(command[0], command, os.environ)


def descriptors() -> tuple[int, ...]:
    """What a child that needs the key must inherit; for all other children of this process it is closed."""
    told = os.environ.get(DESCRIPTOR, "")
    if not told.isdecimal():
        return ()
    try:
        os.set_inheritable(int(told), False)
    except OSError:
        return ()
    return (int(told),)


def read() -> str:
    """The key, from the descriptor or (a command typed by hand) from the environment; empty if there is none."""
    for held in descriptors():
        return os.pread(held, LONGEST_BYTES, 0).decode("utf-8", "replace").strip()
    return os.environ.get(VARIABLE, "").strip()


def flaw(held: str) -> str:
    """Why this cannot be a key; empty if it can. The key itself is not repeated."""
    if held.isascii() and held.isprintable() and " " not in held:
        return ""
    return f"{VARIABLE} is no key: got {len(held)} characters with blanks or letters that no key has; export it again"


def variable(name: str) -> str:
    """A variable as whoever started the loop had it; the key comes from behind its descriptor."""
    return read() if name == VARIABLE else os.environ.get(name, "")


if __name__ == "__main__":
    hide(sys.argv[1:])
    os.execvp(sys.argv[1], sys.argv[1:])
