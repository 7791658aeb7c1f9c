"""Commands that bring a run's results into your own branches and records/: `finalize`, `adopt`, `promote`."""

import contextlib
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from common.errors import CaddieError
from common.text import one_line
from experiments.cli.console import screen
from experiments.cli.options import Name, Root, RunArgument
from experiments.run.layout import open_ledger

if TYPE_CHECKING:
    from experiments.promotion.record_folder import Author


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


def promote(
    number: Annotated[int, typer.Argument(help="a kept trial")],
    name: Name = "demo",
    seeds: Annotated[int, typer.Option(min=1, help="fresh seeds in total; seeds of an earlier attempt count")] = 3,
    non_record: Annotated[bool, typer.Option("--non-record", help="pack it as a non-record submission")] = False,
    whole: Annotated[
        bool, typer.Option("--whole", help="promote all its parts, including those that its ablation found harmful")
    ] = False,
    title: Annotated[str, typer.Option("--name", help="the record's name; default: what was kept")] = "",
    author: Annotated[str, typer.Option(help="the submitter; default: git's user.name")] = "",
    github_id: Annotated[str, typer.Option(help="default: git's github.user or GitHub address, else asked for")] = "",
    root: Root = Path(),
) -> None:
    """Measure a kept trial as a record, write its folder and commit it.

    It measures the file that the record ships, on fresh seeds, with a long audit, and tests both record rules. A trial
    that is no record is refused with the reason and what would change it. If the trial is better without one of its
    parts, `promote` stops and names the command that measures the rest.
    Example: python -m experiments promote 12 --run night --seeds 3
    """
    from experiments.promotion import promote as promotion
    from experiments.promotion import record_folder
    from experiments.run.run import reopen

    console = screen()

    def say(line: str) -> None:
        console.print(Text(one_line(line, 300)), soft_wrap=True)

    def announce(_: int, title: str, stage: str) -> None:
        say(f"{datetime.now():%H:%M:%S}  {stage:<9}  {title}")

    with contextlib.closing(reopen(root, name, announce)) as run:
        today = datetime.now(UTC).date()
        submitter = _submitter(run.workspace.setting, author, github_id)
        request = promotion.PromotionRequest(seeds, non_record, whole, title)
        promoted = promotion.promote(run, number, request, say, today)
        for verdict in promoted.verdicts:
            say(verdict.summary())
        folder = record_folder.write(run, promoted, submitter, today)
        seeds_measured = f"{promoted.val_bpb:.6f} bpb on {len(promoted.measured)} seeds"
        say(f"{seeds_measured}, at most {promoted.bytes_total:,} bytes: {folder}")
        for line in (f"git show --stat HEAD -- {folder}", f".venv/bin/python -m preflight record {folder}"):
            say(f"  {line}")


def _submitter(setting: Callable[[str], str], author: str, github_id: str) -> "Author":
    """Return the submitter, from git where the options are empty; raises CaddieError before anything is measured."""
    from experiments.promotion.record_folder import Author

    address = re.fullmatch(r"(?:\d+\+)?([A-Za-z0-9-]+)@users\.noreply\.github\.com", setting("user.email"))
    github_id = github_id or setting("github.user") or (address[1] if address else "")
    if not github_id and sys.stdin.isatty():
        github_id = typer.prompt("Your GitHub id, for submission.json").strip()
    if not github_id:
        raise CaddieError("expected your GitHub id, got none: --github-id, or git config github.user")
    return Author(author or setting("user.name") or github_id, github_id)
