"""Command that prints the next proposal as JSON, or the reason why there is none as one line on stderr."""

import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from common.errors import CaddieError
from common.terminal import escape_unencodable_output
from common.text import one_line
from experiments.cli.options import Level, Root, takes
from experiments.proposal.options import ProposerOptions
from experiments.proposal.process import REASON_PREFIX, exit_status
from preflight.sandbox.process_tree import die_with_parent, set_undumpable
from proposers import make_proposer
from proposers.context import gather
from proposers.reply import next_proposal


@takes(ProposerOptions)
def main(
    options: ProposerOptions,
    run: Annotated[str, typer.Option(help="the run whose ledger is read")] = "demo",
    dry_run: Annotated[
        bool, typer.Option(help="anthropic, mix: print the prompt, its tokens and cost; send nothing")
    ] = False,
    explain: Annotated[bool, typer.Option(help="anthropic, mix: why this class and parent, what was tried")] = False,
    level: Level = None,
    root: Root = Path(),
) -> None:
    """Print the next proposal. Example: python generate_next.py --run demo --proposer anthropic --dry-run"""
    escape_unencodable_output()
    gc.disable()  # saves a second: large syntax trees would be walked again and again
    set_undumpable()
    die_with_parent(int(os.environ.get("CADDIE_PARENT", 0)))
    try:
        proposer, context = make_proposer(options.name, options), gather(root, run, level)
        if dry_run or explain:
            print(proposer.explain(context, full=dry_run))
        else:
            print(next_proposal(proposer, context))
    except CaddieError as error:
        print(f"{REASON_PREFIX}{one_line(str(error), 500)}", file=sys.stderr)
        raise typer.Exit(exit_status(error)) from error


if __name__ == "__main__":
    typer.run(main)
