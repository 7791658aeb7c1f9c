"""`python -m preflight [TREE]`: may this tree run? `python -m preflight record FOLDER`: does this record hold?

Exit status of both: 0 yes, 1 no, 2 could not be checked.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from data.corpus import Corpus
from data.errors import CaddieError, Refused
from data.terminal import show_anything
from preflight import checks, frontier, record
from preflight.finding import Finding
from preflight.sandbox.isolation import available_levels
from preflight.targets import TARGETS
from preflight.text import one_line
from preflight.tree import read_folder


def main(
    tree: Annotated[Path, typer.Argument(help="a folder that holds base/")] = Path(),
    profile: Annotated[str, typer.Option(help="what the tree is run as: " + ", ".join(TARGETS))] = "pocket",
    shards: Annotated[Path, typer.Option(help="the corpus that smoke trains on")] = Path("shards/pocket"),
    as_json: Annotated[bool, typer.Option("--json", help="findings as JSON on stdout")] = False,
) -> None:
    """Check size, syntax and honesty of a base/ tree in a few seconds. Example: python -m preflight . --json"""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    try:
        if profile not in TARGETS:
            raise CaddieError(f"got profile {profile!r}, expected one of {', '.join(TARGETS)}")
        report = check(tree, profile, shards)
    except CaddieError as error:
        console.print(f"could not run: {error}" if not as_json else json.dumps({"error": str(error)}))
        raise typer.Exit(2) from error
    if as_json:
        found = [finding.as_dict() for finding in report.findings]
        print(json.dumps({"passed": report.passed, "findings": found, "seconds": report.seconds}))
    else:
        for finding in report.findings:
            console.print(one_line(str(finding), 500))
        times = ", ".join(f"{tier} {seconds:.1f} s" for tier, seconds in report.seconds.items())
        console.print(("passed" if report.passed else "refused") + f" ({times})")
    raise typer.Exit(0 if report.passed else 1)


def check(tree: Path, profile: str, shards: Path) -> checks.Report:
    if not (tree / "base").is_dir():
        raise CaddieError(f"{tree}: expected a folder that holds base/")
    corpus = Corpus.open(shards)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            sources = read_folder(tree)
        except Refused as refusal:
            return checks.Report(findings=[Finding(refusal.verdict, "base", str(refusal), "plain files")])
        return checks.run(sources, None, TARGETS[profile], corpus, Path(scratch), available_levels()[0])


def check_records(
    folders: Annotated[list[Path], typer.Argument(help="record folders, ours or anyone's")],
    against: Annotated[Path, typer.Option(help="the records to beat, by track")] = Path("records/frontier.json"),
    as_json: Annotated[bool, typer.Option("--json", help="findings as JSON on stdout, a line for each folder")] = False,
) -> None:
    """Check record folders without running them: files, JSON, README = JSON = logs, bytes, clocks, seeds, p-value.

    Exit 0: all hold; 1: there are complaints; 2: one could not be checked.
    Example: python -m preflight record records/track_10min_16mb/*
    """
    status = 0
    for folder in folders:
        if len(folders) > 1 and not as_json:
            print(f"{folder}:")
        status = max(status, _check_record(folder, against, as_json))
    raise typer.Exit(status)


def _check_record(folder: Path, against: Path, as_json: bool) -> int:
    """Print what there is to say of one folder; returns its exit status."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    tested: list[str] = []
    try:
        if not folder.is_dir():
            raise CaddieError(f"{folder}: expected a record folder")
        found = record.check(folder)
        seeds = [one.final.val_bpb for one in found.claimed.values() if one.final]
        if against.exists() and (beaten := frontier.tracks(against).get(found.track)) and len(set(seeds)) > 1:
            tested = [f"against {found.track}: {verdict.told()}" for verdict in frontier.verdicts(seeds, beaten)]
    except (CaddieError, OSError) as error:
        console.print(f"could not run: {error}" if not as_json else json.dumps({"error": str(error)}))
        return 2
    if as_json:
        told = {"findings": [finding.as_dict() for finding in found.findings], "notes": found.notes, "verdicts": tested}
        print(json.dumps({"folder": folder.name, "passed": not found.findings, **told, "val_bpb": seeds}))
    else:
        for line in [*map(str, found.findings), *(f"note: {note}" for note in found.notes), *tested]:
            console.print(one_line(line, 500))
        scores = ", ".join(f"{value:g}" for value in seeds) or "no score"
        count = len(found.findings)
        console.print(f"{len(seeds)} logs ({scores}): " + (f"{count} complaints" if count else "holds"))
    return 1 if found.findings else 0


if __name__ == "__main__":
    show_anything()
    if sys.argv[1:2] == ["record"]:
        del sys.argv[1]
        typer.run(check_records)
    typer.run(main)
