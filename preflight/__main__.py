"""Command line of preflight: `python -m preflight [TREE]` checks a tree, `... record FOLDER` a record folder.

Exit status of both: 0 passed, 1 failed, 2 could not be checked.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from common.errors import CaddieError, Refused
from common.profiles import read_profiles
from common.terminal import escape_unencodable_output
from common.text import one_line
from data.corpus import Corpus
from preflight import checks
from preflight.candidate.launch import LaunchConfig, launch_config
from preflight.finding import Finding
from preflight.records import check, frontier
from preflight.sandbox.isolation.levels import available_levels
from preflight.source.tree import read_folder


def main(
    tree: Annotated[Path, typer.Argument(help="a folder that holds base/")] = Path(),
    profile: Annotated[str, typer.Option(help="what the tree is run as: a profile of profiles.toml")] = "pocket",
    shards: Annotated[Path, typer.Option(help="the corpus that smoke trains on")] = Path("shards/pocket"),
    as_json: Annotated[bool, typer.Option("--json", help="findings as JSON on stdout")] = False,
) -> None:
    """Check size, syntax and honesty of a base/ tree in a few seconds. Example: python -m preflight . --json"""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    try:
        if profile not in (profiles := read_profiles()):
            raise CaddieError(f"got profile {profile!r}, expected one of {', '.join(profiles)}")
        report = check_tree(tree, launch_config(profiles[profile]), shards)
    except CaddieError as error:
        console.print(f"could not run: {error}" if not as_json else json.dumps({"error": str(error)}))
        raise typer.Exit(2) from error
    if as_json:
        findings = [finding.as_dict() for finding in report.findings]
        print(json.dumps({"passed": report.passed, "findings": findings, "seconds": report.seconds}))
    else:
        for finding in report.findings:
            console.print(one_line(str(finding), 500))
        if report.size:
            console.print(f"size: {report.size}")
        if report.size_unknown:
            console.print(f"size: not known before training: {one_line(report.size_unknown, 300)}")
        times = ", ".join(f"{tier} {seconds:.1f} s" for tier, seconds in report.seconds.items())
        console.print(("passed" if report.passed else "refused") + f" ({times})")
    raise typer.Exit(0 if report.passed else 1)


def check_tree(tree: Path, target: LaunchConfig, shards: Path) -> checks.Report:
    """Run every tier on `tree`/base with a launch configuration; raises CaddieError."""
    if not (tree / "base").is_dir():
        raise CaddieError(f"{tree}: expected a folder that holds base/")
    corpus = Corpus.open(shards)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            sources = read_folder(tree)
        except Refused as refusal:
            return checks.Report(findings=[Finding(refusal.verdict, "base", str(refusal), "plain files")])
        return checks.run(sources, None, target, corpus, Path(scratch), available_levels()[0])


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
    """Check one folder, print the result and return the exit status."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    verdicts: list[str] = []
    try:
        if not folder.is_dir():
            raise CaddieError(f"{folder}: expected a record folder")
        record = check.check(folder)
        scores = [run.final.val_bpb for run in record.claimed.values() if run.final]
        if against.exists() and (best := frontier.read_all(against).get(record.track)) and len(set(scores)) > 1:
            verdicts = [f"against {record.track}: {verdict.summary()}" for verdict in frontier.verdicts(scores, best)]
    except (CaddieError, OSError) as error:
        console.print(f"could not run: {error}" if not as_json else json.dumps({"error": str(error)}))
        return 2
    if as_json:
        findings = [finding.as_dict() for finding in record.findings]
        details = {"findings": findings, "notes": record.notes, "verdicts": verdicts, "val_bpb": scores}
        print(json.dumps({"folder": folder.name, "passed": not record.findings, **details}))
    else:
        for line in [*map(str, record.findings), *(f"note: {note}" for note in record.notes), *verdicts]:
            console.print(one_line(line, 500))
        listed = ", ".join(f"{value:g}" for value in scores) or "no score"
        count = len(record.findings)
        console.print(f"{len(scores)} logs ({listed}): " + (f"{count} complaints" if count else "holds"))
    return 1 if record.findings else 0


if __name__ == "__main__":
    escape_unencodable_output()
    if sys.argv[1:2] == ["record"]:
        del sys.argv[1]
        typer.run(check_records)
    typer.run(main)
