"""Check every official record folder with `preflight record` and print its complaints, as in records.md.

    python -m dev.benchmarks.records GIT_DIRECTORY > dev/benchmarks/records.md

GIT_DIRECTORY is a clone of openai/parameter-golf, bare or not; its folders are read at HEAD and never run.
"""

import argparse
import io
import subprocess
import tarfile
import tempfile
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path

from preflight.finding import Finding
from preflight.records import check


def main() -> None:
    """Print the report as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("repository", help="a clone of openai/parameter-golf, bare or not")
    git = ["git", "-C", parser.parse_args().repository]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True).stdout
    packed = subprocess.run([*git, "archive", "HEAD", "records"], check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as scratch:
        tarfile.open(fileobj=io.BytesIO(packed)).extractall(scratch, filter="data")
        folders = sorted(path for path in Path(scratch, "records").glob("*/*") if path.is_dir())
        reports = {f"{path.parent.name}/{path.name}": check.check(path) for path in folders}
    rules = Counter(finding.rule for report in reports.values() for finding in report.findings)
    clean = sum(not report.findings for report in reports.values())
    print("# Findings of `preflight record` on the official records\n")
    print(f"`python -m dev.benchmarks.records GIT_DIRECTORY`, openai/parameter-golf at {head.strip()}, {date.today()}.")
    print(f"{len(reports)} folders, {clean} without a complaint; a line is one kind of complaint about one folder.\n")
    print("| complaint | times | meaning |\n|---|---|---|")
    for rule, count in rules.most_common():
        print(f"| {rule} | {count} | {MEANING[rule]} |")
    print()
    for name, report in reports.items():
        if report.findings:
            print(f"**{name}**\n")
            for line in grouped(report.findings):
                print(f"- {line}")
            print()


MEANING = {
    "oversize": "bytes by its own log, its JSON, or model plus code as it is shipped, over 16,000,000. From #1530 on "
    "the readable script is shipped and its packed size counted: accepted in merged rows, objected to in #1835",
    "script": "no script of the folder has the size of the one that the log ran",
    "files": "README.md, submission.json, train_gpt.py or logs are missing or have another name",
    "schema": "a field that nearly all records have is missing, empty or of another type",
    "seeds": "a log's seed is not its name's; or claimed logs differ in code, tokens or shards",
    "numbers": "a claimed score is not the one its log ends with, or not the mean of its seeds",
    "bytes": "claimed bytes are in no log",
    "time": "more than 601 s of training (with calibration on training data after the stop) or evaluation",
    "readme": "the README's headline or one of its tables has another score than the JSON or the logs, or none",
    "text_bytes": "nats and bits per byte imply another text",
    "static": "the script does not compile",
    "p_value": "the test gives another p-value",
}


def grouped(findings: list[Finding]) -> list[str]:
    """Join findings of one rule and expectation into one line, so that three seeds are not three lines."""
    kinds: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        kinds[finding.rule, finding.expected].append(finding)
    return [
        f"{rule}: " + "; ".join(f"{finding.path}: {finding.got}" for finding in same) + f" (expected {expected})"
        for (rule, expected), same in kinds.items()
    ]


if __name__ == "__main__":
    main()
