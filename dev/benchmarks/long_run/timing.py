"""The wall-clock time of a command, and the machine that it ran on."""

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def seconds_of(command: Sequence[str]) -> float:
    """Run the command in the repository and return its wall-clock seconds."""
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def machine() -> str:
    """Return the date and the machine in words."""
    return f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
