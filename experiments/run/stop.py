"""The file STOP: a user's request that a run end after the current trial, honored once and then removed.

A file that names runs is for those runs only; any other, empty or not, is for the first run that sees it.
"""

from datetime import datetime
from pathlib import Path

from experiments.repo.run_name import NAME as RUN_NAME

NAME = "STOP"
MAX_BYTES = 4096


def is_requested(file: Path, run: str) -> bool:
    """Return True if the file exists and asks this run to stop."""
    names = _names(file)
    return names is not None and (not names or run in names)


def acknowledge(file: Path, run: str) -> str:
    """Remove this run's name, and the file with the last one; returns a message for the user."""
    remaining = [name for name in _names(file) or [] if name != run]
    try:
        if remaining:
            file.write_text("\n".join(remaining) + "\n", encoding="utf-8")
        else:
            file.unlink(missing_ok=True)  # another run may have acknowledged it in the meantime
    except OSError as error:  # a folder, or a file that may not be changed
        return f"the file {file.name} asked run {run} to, and cannot be removed ({error.strerror}): rm -r {file.name}"
    return f"the file {file.name} asked run {run} to, and has been {'updated' if remaining else 'removed'}"


def stale_message(file: Path) -> str:
    """Return the error message for a file that was there before the run."""
    since = datetime.fromtimestamp(file.stat().st_mtime)
    return f"a file {file.name} is here since {since:%Y-%m-%d %H:%M:%S}: no trial would start; rm {file.name}"


def _names(file: Path) -> list[str] | None:
    """Return the runs below trials/ that a file names; None if there is no file."""
    try:
        words = file.read_bytes()[:MAX_BYTES].decode("utf-8", "replace").split()
    except FileNotFoundError:
        return None
    except OSError:  # a folder, or not readable: it exists, which is a request
        return []
    return [name for name in words if RUN_NAME.fullmatch(name) and (file.parent / "trials" / name).is_dir()]
