"""The command `promote`: measure a kept trial as a record and write its folder in records/."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from common.text import one_line
from experiments.cli.console import screen
from experiments.cli.options import Name, Root


def promote(
    number: Annotated[int, typer.Argument(help="a kept trial")],
    name: Name = "demo",
    seeds: Annotated[int, typer.Option(min=1, help="fresh seeds in total; seeds of an earlier attempt count")] = 3,
    non_record: Annotated[bool, typer.Option("--non-record", help="pack it as a non-record submission")] = False,
    author: Annotated[str, typer.Option(help="the submitter; default: git's user.name")] = "",
    github_id: Annotated[str, typer.Option(help="default: git's github.user")] = "",
    root: Root = Path(),
) -> None:
    """Measure a kept trial as a record, write its folder and commit it.

    It measures the file that the record ships, on fresh seeds, with a long audit, and tests both record rules. A trial
    that is no record is refused with the reason and what would change it.
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
        promoted = promotion.promote(run, number, seeds, non_record, say, today)
        for verdict in promoted.verdicts:
            say(verdict.summary())
        setting = run.workspace.setting
        author, github_id = author or setting("user.name"), github_id or setting("github.user")
        submitter = record_folder.Author(author or "unknown", github_id or "unknown")
        folder = record_folder.write(run, promoted, submitter, today)
        seeds_measured = f"{promoted.val_bpb:.6f} bpb on {len(promoted.measured)} seeds"
        say(f"{seeds_measured}, at most {promoted.bytes_total:,} bytes: {folder}")
        for line in (f"git show --stat HEAD -- {folder}", f".venv/bin/python -m preflight record {folder}"):
            say(f"  {line}")
