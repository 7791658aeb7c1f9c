"""Print the next proposal as JSON, or one line on stderr that says why there is none."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from data.errors import CaddieError
from preflight.text import one_line
from proposers import PROPOSERS, proposer
from proposers.context import gather
from proposers.reply import next_proposal


def main(
    run: Annotated[str, typer.Option(help="the run whose ledger is read")] = "demo",
    proposer_name: Annotated[str, typer.Option("--proposer", help="one of " + ", ".join(PROPOSERS))] = "scripted",
    script: Annotated[Path | None, typer.Option(help="folder of proposals for `scripted`")] = None,
    root: Annotated[Path, typer.Option(help="the repository that holds base/")] = Path(),
) -> None:
    """One proposal out. Example: python generate_next.py --run demo --proposer scripted"""
    try:
        print(next_proposal(proposer(proposer_name, script), gather(root, run)))
    except CaddieError as error:
        print(one_line(str(error), 500), file=sys.stderr)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)
