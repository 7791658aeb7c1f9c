"""Commands that bring a run's results into your own branches: `finalize`, `adopt`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from common.text import one_line
from experiments.cli.console import screen
from experiments.cli.options import Name, Root, RunArgument
from experiments.run.layout import open_ledger


def finalize(
    run: RunArgument,
    onto: Annotated[str, typer.Option(help="the commit that the branch starts from")] = "HEAD",
    branch: Annotated[str, typer.Option(help="name of the branch; default: finalize/RUN")] = "",
    root: Root = Path(),
) -> None:
    """Make a clean branch, one commit per kept change. Example: python -m experiments finalize night"""
    from experiments.promotion import branches
    from experiments.repo.checkout import Checkout

    console, name = screen(), branch or f"finalize/{run}"
    for row in branches.finalize(Checkout(root.resolve(), run), open_ledger(root, run), onto, name):
        console.print(Text(f"{row.number:04d}  {row.delta_bpb or 0.0:+.4f}  {one_line(row.title, 80)}"))
    console.print(
        Text(f"branch {name}: git log -p {onto}..{name} shows it, git merge {name} merges it"), soft_wrap=True
    )


def adopt(
    number: Annotated[int, typer.Argument(help="a kept trial")], name: Name = "demo", root: Root = Path()
) -> None:
    """Bring a kept trial's base/ into this checkout and commit it. Example: python -m experiments adopt 12 --run night

    Updates the golden losses by training the new base/ in the sandbox.
    """
    from experiments.promotion import branches
    from experiments.repo.checkout import Checkout

    commit, note = branches.adopt(Checkout(root.resolve(), name), open_ledger(root, name), number)
    screen().print(Text(f"base/ is now that of trial {number:04d}: commit {commit[:10]}"), soft_wrap=True)
    if note:
        screen().print(Text(note, "yellow"), soft_wrap=True)
