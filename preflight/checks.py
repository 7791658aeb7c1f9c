"""All preflight checks of a tree, cheapest first, stopping at the first tier with a finding."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import randbelow

from common.errors import Refused
from data.corpus import Corpus
from preflight import smoke
from preflight.candidate import describe, size
from preflight.candidate.candidate import Candidate
from preflight.candidate.launch import LaunchConfig
from preflight.candidate.size import Forecast
from preflight.finding import Finding
from preflight.lint import lint
from preflight.sandbox.cleanup import remove_tree
from preflight.scoring.honesty import Honesty
from preflight.source import boundary, bundle, syntax
from preflight.source.tree import Tree


@dataclass
class Report:
    """The findings of a preflight run, and what it measured on the way; it passed if there are no findings."""

    findings: list[Finding] = field(default_factory=list)
    knobs: str = ""  # the resolved configuration as JSON, as the program describes it
    sections: dict[str, str] = field(default_factory=dict)  # of each knob
    size_unknown: str = ""  # why there is no forecast
    size: Forecast | None = None  # of the artifact after training
    honesty: Honesty | None = None
    seconds: dict[str, float] = field(default_factory=dict)  # per tier that ran

    @property
    def passed(self) -> bool:
        return not self.findings


def static(tree: Tree, parent: Tree | None) -> list[Finding]:
    """Run the tiers that execute nothing: boundary (against a parent), syntax, and lint."""
    outside = boundary.check_tree(tree, parent) if parent is not None else []
    return outside or syntax.check(tree, parent) or lint.check(tree, parent)


def run(
    tree: Tree,
    parent: Tree | None,
    target: LaunchConfig,
    corpus: Corpus,
    folder: Path,
    level: str,
    build: Callable[[Tree], bytes] = bundle.build,
    ratios: size.Ratios | None = None,
) -> Report:
    """Run every tier on one tree.

    Args:
        tree: The candidate's base/.
        parent: The tree it was derived from; None skips the boundary check and lints everything.
        target: Preset, byte cap and environment to run it with.
        corpus: Training text for the smoke run.
        folder: Receives train_gpt.py; everything else below it is temporary.
        level: Isolation level of the sandbox.
        build: Turns the tree into the program that is run.
        ratios: Trained over untrained sizes that were measured, by kind.

    Returns:
        A report whose findings are those of the first tier that has any.

    Raises:
        SandboxError: The machine could not run the sandbox; not the candidate's fault.
        DataError: The corpus is not what its manifest says.

    Example:
        >>> report = run(tree, None, POCKET, corpus, Path("scratch"), available_levels()[0])
        >>> report.passed, report.size
    """
    report = Report()
    with _timed(report, "static"):
        report.findings = static(tree, parent)
    if report.findings:
        return report
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / bundle.NAME
    program.write_bytes(build(tree))
    candidate = Candidate(program, target, level)
    work = folder / "smoke"
    try:
        with _timed(report, "describe"):
            report.knobs, report.sections = describe.knobs_json(candidate, folder / "describe")
        with _timed(report, "size"):
            _forecast_size(report, candidate, folder / "size", ratios or {})
        if report.passed:
            with _timed(report, "smoke"):
                report.honesty = _smoke(candidate, corpus, work)
    except Refused as refusal:
        phase, expected = list(report.seconds)[-1], "a phase that succeeds"
        report.findings = [Finding(refusal.verdict, phase, str(refusal), expected, spent=refusal.spent)]
    finally:
        remove_tree(work)
        remove_tree(folder / "describe")
    return report


def _forecast_size(report: Report, candidate: Candidate, folder: Path, ratios: size.Ratios) -> None:
    """Forecast the size; a program that cannot say it, such as an older tree, is left to packing, and noted."""
    try:
        untrained = size.measure(candidate, folder, json.loads(report.knobs).get("matrix_bits", ""))
    except Refused as refusal:
        report.size_unknown = str(refusal)
        return
    report.size = size.forecast(untrained, ratios, candidate.target.cap_bytes)
    report.findings = report.size.findings()


def _smoke(candidate: Candidate, corpus: Corpus, work: Path) -> Honesty:
    """Train on two seeds, pack, score and audit; raises Refused."""
    seed = 1 + randbelow(1 << 30)
    trained = smoke.train(candidate, corpus, work, (seed, seed + 1))
    smoke.require_seed_matters(trained)
    artifact = smoke.pack(candidate, work, trained[0])
    return smoke.score_and_audit(candidate, corpus, work, artifact)


@contextmanager
def _timed(report: Report, tier: str) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        report.seconds[tier] = time.monotonic() - started
