"""Runs on disk, for the commands that read them."""

from pathlib import Path
from typing import Annotated

import typer

from data.errors import CaddieError
from experiments.ledger import Ledger
from experiments.standing import checked_name
from experiments.tiers import PROFILES, Profile
from preflight.text import one_line

Name = Annotated[
    str, typer.Option("--run", help="the run; the same name goes on where it ended", callback=checked_name)
]
Root = Annotated[Path, typer.Option(help="the repository that holds base/")]


def ledger_path(root: Path, run: str) -> Path:
    """Where a run's ledger is, or would be."""
    return root.resolve() / "trials" / checked_name(run) / "ledger.sqlite"


def open_ledger(root: Path, run: str) -> Ledger:
    """A run's ledger; raises CaddieError if there is no such run."""
    path = ledger_path(root, run)
    if not path.exists():
        raise CaddieError(f"no run {run!r} at {path.parent}; ./loop.sh --run {run} starts one")
    return Ledger(path)


def profile_of(ledger: Ledger) -> Profile:
    """The profile that a run was made on; raises CaddieError for one that is not known here."""
    name = ledger.fact("profile") or ""
    if name not in PROFILES:
        raise CaddieError(f"got a run of profile {one_line(name, 60)!r}, expected one of {', '.join(PROFILES)}")
    return PROFILES[name]
