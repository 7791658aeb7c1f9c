"""Print the next proposal as JSON, or one line on stderr that says why there is none."""

import gc
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from data.errors import CaddieError, NeedsPerson, NoProposal
from data.terminal import show_anything
from experiments.asking import ENDED
from preflight.sandbox.process_tree import die_with_parent, unreadable
from preflight.text import one_line
from proposers import PROPOSERS, Options, explained, proposer
from proposers.context import gather
from proposers.reply import next_proposal

EXIT_FAILED, EXIT_NOTHING, EXIT_PERSON = 1, 3, 4  # a crash of Python is 1 as well: worth asking again


def main(
    run: Annotated[str, typer.Option(help="the run whose ledger is read")] = "demo",
    proposer_name: Annotated[str, typer.Option("--proposer", help="one of " + ", ".join(PROPOSERS))] = "auto",
    script: Annotated[Path | None, typer.Option(help="scripted: folder of proposals")] = None,
    joint: Annotated[bool, typer.Option(help="search: up to six knobs at once, width, depth and bits too")] = False,
    command: Annotated[str, typer.Option(help="command: the program and its arguments")] = "",
    show: Annotated[list[Path] | None, typer.Option(help="command: a path that the program may read")] = None,
    passed: Annotated[list[str] | None, typer.Option("--pass", help="command: a variable that it gets")] = None,
    model: Annotated[str, typer.Option(help="anthropic: another model than the default")] = "",
    effort: Annotated[str, typer.Option(help="anthropic: low, medium, high, xhigh or max")] = "",
    budget_usd: Annotated[float | None, typer.Option(min=0.0, help="anthropic: most that the run's calls cost")] = None,
    dry_run: Annotated[
        bool, typer.Option(help="anthropic, mix: print the prompt, its tokens and cost; ask nobody")
    ] = False,
    explain: Annotated[bool, typer.Option(help="anthropic, mix: why this class and parent, what was tried")] = False,
    level: Annotated[str | None, typer.Option(help="sandbox level; default: the best this machine offers")] = None,
    root: Annotated[Path, typer.Option(help="the repository that holds base/")] = Path(),
) -> None:
    """One proposal out. Example: python generate_next.py --run demo --proposer anthropic --dry-run"""
    show_anything()
    gc.disable()  # a second's work on large syntax trees, which would be walked again and again
    unreadable()
    die_with_parent(int(os.environ.get("CADDIE_PARENT", 0)))
    options = Options(
        script, joint, tuple(shlex.split(command)), tuple(show or ()), tuple(passed or ()), model, effort, budget_usd
    )
    try:
        made, context = proposer(proposer_name, options), gather(root, run, level)
        if dry_run or explain:
            print(explained(made, context, whole=dry_run))
        else:
            print(next_proposal(made, context))
    except CaddieError as error:
        print(f"{ENDED}{one_line(str(error), 500)}", file=sys.stderr)
        known = {NoProposal: EXIT_NOTHING, NeedsPerson: EXIT_PERSON}
        raise typer.Exit(next((known[kind] for kind in known if isinstance(error, kind)), EXIT_FAILED)) from error


if __name__ == "__main__":
    typer.run(main)
