"""The command `promote`: a kept trial measured as a record, and its folder under records/."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from experiments import loop, record, view
from experiments.promote import promote
from experiments.runs import Name, Root, open_ledger
from preflight.text import one_line


def command(
    number: Annotated[int, typer.Argument(help="a kept trial")],
    name: Name = "demo",
    seeds: Annotated[int, typer.Option(min=1, help="fresh seeds in all; those of an earlier try count")] = 3,
    non_record: Annotated[bool, typer.Option("--non-record", help="pack it even so, labelled as no record")] = False,
    author: Annotated[str, typer.Option(help="who submits it; default: git's user.name")] = "",
    github_id: Annotated[str, typer.Option(help="default: git's github.user")] = "",
    root: Root = Path(),
) -> None:
    """Measure a winner as a record: on the file it ships, fresh seeds, a long proof, both verdicts; then commit it.

    Refuses with the reason, and what would change it. Example: python -m experiments promote 12 --run night --seeds 3
    """
    console = view.screen()

    def say(line: str) -> None:
        console.print(Text(one_line(line, 300)), soft_wrap=True)

    def announce(_: int, title: str, stage: str) -> None:
        say(f"{datetime.now():%H:%M:%S}  {stage:<9}  {title}")

    bench = loop.open_bench(root, name, open_ledger(root, name).fact("profile") or "", announce)
    try:
        today = datetime.now(UTC).date()
        made = promote(bench, number, seeds, non_record, say, today)
        for verdict in made.verdicts:
            say(verdict.told())
        known = bench.workspace.setting
        who = record.Author(author or known("user.name") or "unknown", github_id or known("github.user") or "unknown")
        folder = record.write(bench, made, who, today)
        say(f"{made.val_bpb:.6f} bpb on {len(made.measured)} seeds, at most {made.bytes_total:,} bytes: {folder}")
        for line in (f"git show --stat HEAD -- {folder}", f".venv/bin/python -m preflight record {folder}"):
            say(f"  {line}")
    finally:
        bench.close()
