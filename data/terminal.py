"""Output that any terminal takes: what its encoding cannot show is shown as an escape, and is no crash."""

import io
import sys


def show_anything() -> None:
    """For the programs that a person starts, before they print."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
