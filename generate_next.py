"""Print the next proposal as JSON, or one line on stderr that says why there is none."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from data.errors import CaddieError, NoProposal
from preflight.process_tree import die_with_parent
from preflight.text import one_line
from proposers import PROPOSERS, Options, proposer
from proposers.context import gather
from proposers.reply import next_proposal

EXIT_FAILED, EXIT_NOTHING = 1, 3  # a crash of Python is 1 as well: worth asking again


def main(
    run: Annotated[str, typer.Option(help="the run whose ledger is read")] = "demo",
    proposer_name: Annotated[str, typer.Option("--proposer", help="one of " + ", ".join(PROPOSERS))] = "auto",
    script: Annotated[Path | None, typer.Option(help="scripted: folder of proposals")] = None,
    joint: Annotated[bool, typer.Option(help="search: up to six knobs at once, width, depth and bits too")] = False,
    command: Annotated[str, typer.Option(help="command: the program and its arguments")] = "",
    show: Annotated[list[Path] | None, typer.Option(help="command: a path that the program may read")] = None,
    passed: Annotated[list[str] | None, typer.Option("--pass", help="command: a variable that it gets")] = None,
    level: Annotated[str | None, typer.Option(help="sandbox level; default: the best this machine offers")] = None,
    root: Annotated[Path, typer.Option(help="the repository that holds base/")] = Path(),
) -> None:
    """One proposal out. Example: python generate_next.py --run demo --proposer search"""
    die_with_parent(int(os.environ.get("CADDIE_PARENT", 0)))
    options = Options(script, joint, tuple(shlex.split(command)), tuple(show or ()), tuple(passed or ()))
    try:
        print(next_proposal(proposer(proposer_name, options), gather(root, run, level)))
    except CaddieError as error:
        print(one_line(str(error), 500), file=sys.stderr)
        raise typer.Exit(EXIT_NOTHING if isinstance(error, NoProposal) else EXIT_FAILED) from error


if __name__ == "__main__":
    typer.run(main)
