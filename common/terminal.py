"""Output for any terminal: characters that its encoding lacks are printed as escapes instead of raising."""

import io
import sys


def escape_unencodable_output() -> None:
    """Make stdout and stderr escape what they cannot encode; every program calls this before it prints."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
