"""All checks in order, cheap first, stopping at the first tier that finds something."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import randbelow

from data.corpus import Corpus
from data.errors import Refused
from preflight import boundary, bundle, lint, size, smoke, syntax
from preflight.finding import Finding
from preflight.phases import Candidate, Target
from preflight.proof import Honesty
from preflight.sandbox.cleanup import discard
from preflight.tree import Tree


@dataclass
class Report:
    """What preflight found, and what it learned on the way."""

    findings: list[Finding] = field(default_factory=list)
    knobs: str = ""  # the resolved configuration as JSON, by the program's own account
    code_bytes: int = 0
    model_bytes: int = 0  # of the smoke run's artifact
    honesty: Honesty | None = None
    seconds: dict[str, float] = field(default_factory=dict)  # per tier that ran

    @property
    def passed(self) -> bool:
        return not self.findings


def static(tree: Tree, parent: Tree | None) -> list[Finding]:
    """The tiers that run nothing: boundary (against a parent), syntax, and what a file may name."""
    outside = boundary.check_tree(tree, parent) if parent is not None else []
    return outside or syntax.check(tree, parent) or lint.check(tree, parent)


def run(
    tree: Tree,
    parent: Tree | None,
    target: Target,
    corpus: Corpus,
    folder: Path,
    level: str,
    build: Callable[[Tree], bytes] = bundle.build,
) -> Report:
    """Every tier on one tree. Writes `folder`/train_gpt.py and works below `folder`; raises SandboxError, DataError."""
    report = Report()
    with _timed(report, "static"):
        report.findings = static(tree, parent)
    if report.findings:
        return report
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / bundle.NAME
    program.write_bytes(build(tree))
    report.code_bytes = program.stat().st_size
    candidate = Candidate(program, target, level)
    work = folder / "smoke"
    try:
        with _timed(report, "describe"):
            report.knobs = size.knobs(candidate, folder / "describe")
        with _timed(report, "smoke"):
            seed = 1 + randbelow(1 << 30)
            trained = smoke.train(candidate, corpus, work, (seed, seed + 1))
            smoke.require_seed_matters(trained)
            artifact = smoke.pack(candidate, work, trained[0])
            report.model_bytes = artifact.stat().st_size
            report.findings = size.check(report.code_bytes, report.model_bytes, target.cap_bytes)
            if report.passed:
                report.honesty = smoke.converse(candidate, corpus, work, artifact)
    except Refused as refusal:
        phase, expected = list(report.seconds)[-1], "a phase that ends well"
        report.findings = [Finding(refusal.verdict, phase, str(refusal), expected, spent=refusal.spent)]
    finally:
        discard(work)
        discard(folder / "describe")
    return report


@contextmanager
def _timed(report: Report, tier: str) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        report.seconds[tier] = time.monotonic() - started
