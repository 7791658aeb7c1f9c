"""The API key outside the environment: held in memory behind a file descriptor that no trial inherits.

As a program, `python experiments/credentials.py COMMAND …` moves the key out of the environment and becomes COMMAND,
so that /proc/PID/environ of a process that runs next to a trial holds no key. Needs only the standard library.
"""

import os
import sys

VARIABLE, DESCRIPTOR = "ANTHROPIC_API_KEY", "CADDIE_KEY_FD"
MAX_BYTES = 4096


def move_key_to_memfd(command: list[str]) -> None:
    """Become `command` with the key behind a descriptor; return only if the environment holds no key."""
    key = os.environ.pop(VARIABLE, "").strip()
    if key:
        descriptor = os.memfd_create("key", 0)
        os.write(descriptor, key.encode())
        os.environ[DESCRIPTOR] = str(descriptor)
        os.execvpe(command[0], command, os.environ)


def descriptors() -> tuple[int, ...]:
    """Return the descriptors that a child must inherit to read the key; for all other children they are closed."""
    text = os.environ.get(DESCRIPTOR, "")
    if not text.isdecimal():
        return ()
    try:
        os.set_inheritable(int(text), False)
    except OSError:
        return ()
    return (int(text),)


def read() -> str:
    """Return the key from the descriptor or, for a command typed by hand, from the environment; empty if none."""
    for descriptor in descriptors():
        return os.pread(descriptor, MAX_BYTES, 0).decode("utf-8", "replace").strip()
    return os.environ.get(VARIABLE, "").strip()


def validate_key(key: str) -> str:
    """Return why this cannot be a key, without repeating it; empty if it can."""
    if key.isascii() and key.isprintable() and " " not in key:
        return ""
    problem = f"got {len(key)} characters, among them blanks or letters that no key has"
    return f"{VARIABLE} is not a valid key: {problem}; export it again"


def variable(name: str) -> str:
    """Return a variable of the environment that the loop was started in; the key comes from its descriptor."""
    return read() if name == VARIABLE else os.environ.get(name, "")


if __name__ == "__main__":
    move_key_to_memfd(sys.argv[1:])
    os.execvp(sys.argv[1], sys.argv[1:])
