"""Every official record folder through `preflight record`: what it complains of, as the table records.md.

    python -m dev.benchmarks.records GIT_DIRECTORY > dev/benchmarks/records.md

GIT_DIRECTORY is a clone of openai/parameter-golf, bare or not; its folders are read at HEAD and never run.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path

from preflight import record
from preflight.finding import Finding


def main() -> None:
    repository = sys.argv[1]
    git = ["git", "-C", repository]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True).stdout
    packed = subprocess.run([*git, "archive", "HEAD", "records"], check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as scratch:
        tarfile.open(fileobj=io.BytesIO(packed)).extractall(scratch, filter="data")
        folders = sorted(path for path in Path(scratch, "records").glob("*/*") if path.is_dir())
        found = {f"{path.parent.name}/{path.name}": record.check(path) for path in folders}
    rules = Counter(finding.rule for one in found.values() for finding in one.findings)
    clean = sum(not one.findings for one in found.values())
    print("# What `preflight record` says of the official records\n")
    print(f"`python -m dev.benchmarks.records GIT_DIRECTORY`, openai/parameter-golf at {head.strip()}, {date.today()}.")
    print(f"{len(found)} folders, {clean} without a complaint; a line is one kind of complaint about one folder.\n")
    print("| complaint | times | what it says |\n|---|---|---|")
    for rule, count in rules.most_common():
        print(f"| {rule} | {count} | {MEANING[rule]} |")
    print()
    for name, one in found.items():
        if one.findings:
            print(f"**{name}**\n")
            for line in grouped(one.findings):
                print(f"- {line}")
            print()


MEANING = {
    "oversize": "bytes by its own log, its JSON, or model plus code as it is shipped, over 16,000,000. From #1530 on "
    "the readable script is shipped and its packed size counted: accepted in merged rows, objected to in #1835",
    "script": "no script of the folder has the size of the one that the log ran",
    "files": "README.md, submission.json, train_gpt.py or logs are missing or called otherwise",
    "schema": "a field that nearly all records have is missing, empty or of another type",
    "seeds": "a log's seed is not its name's; or claimed logs differ in code, tokens or shards",
    "numbers": "a claimed score is not the one its log ends with, or not the mean of its seeds",
    "bytes": "claimed bytes are in no log",
    "time": "more than 601 s of training (with calibration on training data after the stop) or evaluation",
    "readme": "the README's headline or a table of it says another score than the JSON or the logs, or none",
    "text_bytes": "nats and bits per byte imply another text",
    "static": "the script does not compile",
    "p_value": "the test gives another p",
}


def grouped(findings: list[Finding]) -> list[str]:
    """Findings of one rule and expectation in one line, so that three seeds are not three lines."""
    kinds: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        kinds[finding.rule, finding.expected].append(finding)
    return [
        f"{rule}: " + "; ".join(f"{one.path}: {one.got}" for one in same) + f" (expected {expected})"
        for (rule, expected), same in kinds.items()
    ]


if __name__ == "__main__":
    main()
