"""All checks in order, cheap first, stopping at the first tier that finds something."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from data.corpus import Corpus
from data.errors import Refused
from preflight import boundary, bundle, smoke, syntax
from preflight import size as sizes
from preflight.finding import Finding
from preflight.phases import Candidate, Target
from preflight.proof import Honesty
from preflight.tree import Tree


@dataclass
class Report:
    """What preflight found, and what it learned on the way."""

    findings: list[Finding] = field(default_factory=list)
    size: sizes.Size | None = None
    honesty: Honesty | None = None
    seconds: dict[str, float] = field(default_factory=dict)  # per tier that ran

    @property
    def passed(self) -> bool:
        return not self.findings


def static(tree: Tree, parent: Tree | None) -> list[Finding]:
    """The tiers that run nothing: boundary (against a parent) and syntax."""
    return (boundary.check_tree(tree, parent) if parent is not None else []) or syntax.check(tree)


def run(
    tree: Tree, parent: Tree | None, target: Target, corpus: Corpus, folder: Path, level: str, seed: int = 1
) -> Report:
    """Every tier on one tree. Writes `folder`/train_gpt.py and works below `folder`; raises SandboxError, DataError."""
    report = Report()
    started = time.monotonic()
    report.findings = static(tree, parent)
    report.seconds["static"] = time.monotonic() - started
    if report.findings:
        return report
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / bundle.NAME
    program.write_bytes(bundle.build(tree))
    candidate = Candidate(program, target, level)
    try:
        started = time.monotonic()
        report.size = sizes.measure(candidate, folder / "size")
        report.findings = sizes.check(report.size, target.cap_bytes)
        report.seconds["size"] = time.monotonic() - started
        if report.passed:
            started = time.monotonic()
            report.honesty = smoke.check(candidate, corpus, folder / "smoke", seed)
            report.seconds["smoke"] = time.monotonic() - started
    except Refused as refusal:
        tier = "smoke" if "size" in report.seconds else "size"
        report.findings = [Finding(refusal.verdict, tier, str(refusal), "a phase that ends well")]
    return report
