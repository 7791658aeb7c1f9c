"""The file STOP: a person's word that a run shall end after the trial under way, obeyed once and then removed.

One that holds names of runs is for those alone; any other, empty or not, is for whichever run sees it first.
"""

from datetime import datetime
from pathlib import Path

from experiments.standing import NAME as NAME_OF_A_RUN

NAME = "STOP"
LONGEST_BYTES = 4096


def asked(file: Path, run: str) -> bool:
    """Whether there is a file that asks this run to stop."""
    named = _names(file)
    return named is not None and (not named or run in named)


def obeyed(file: Path, run: str) -> str:
    """Remove this run's name, and the file with the last one; returns what is to be said."""
    left = [name for name in _names(file) or [] if name != run]
    try:
        if left:
            file.write_text("\n".join(left) + "\n", encoding="utf-8")
        else:
            file.unlink(missing_ok=True)  # another run may have obeyed it meanwhile
    except OSError as error:  # a folder, or one that may not be changed
        return f"the file {file.name} asked run {run} to, and cannot be removed ({error.strerror}): rm -r {file.name}"
    return f"the file {file.name} asked run {run} to, and has been {'obeyed' if left else 'removed'}"


def left_over(file: Path) -> str:
    """What to say of a file that was there before the run."""
    since = datetime.fromtimestamp(file.stat().st_mtime)
    return f"a file {file.name} is here since {since:%Y-%m-%d %H:%M:%S}: no trial would start; rm {file.name}"


def _names(file: Path) -> list[str] | None:
    """The runs below trials/ that a file names; None where there is no file."""
    try:
        words = file.read_bytes()[:LONGEST_BYTES].decode("utf-8", "replace").split()
    except FileNotFoundError:
        return None
    except OSError:  # a folder, or not readable: it is there, and that is its word
        return []
    return [name for name in words if NAME_OF_A_RUN.fullmatch(name) and (file.parent / "trials" / name).is_dir()]
