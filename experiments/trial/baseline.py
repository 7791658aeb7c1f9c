"""Measure the tree that a run starts from, and derive from it the CPU seconds that candidates get."""

from collections.abc import Callable

from common.errors import CaddieError, MachineError, Refused
from common.state import State
from experiments.analysis.pairing import new_seeds
from experiments.ledger.rows import Row
from experiments.proposal import novelty
from experiments.run.run import Run
from experiments.runner.job import UNLIMITED, Budget
from experiments.runner.seeds import require_seeds_matter
from experiments.trial.measure import Entry, loss_files, measure
from experiments.trial.settle import mark_lost, settle
from preflight import checks
from preflight.sandbox import cleanup
from preflight.source import bundle

SETUP_SLACK = 1.1  # times the baseline's set-up: a few seconds, which are measured less precisely than training


def measure_baseline(run: Run, progress: Callable[[], None] = lambda: None) -> Row:
    """Return the baseline's row; measure the baseline first if the run has none yet.

    The baseline is trial 0, or a later row after a crash. It gets as many seeds as the noise floor needs. Seeds that
    were measured before an infrastructure failure are reused.

    Args:
        run: The run, whose incumbent branch points at the baseline's commit.
        progress: Called after each measured seed.

    Raises:
        CaddieError: The tree does not pass preflight or fails in training, or the run was started by an older version.
        MachineError: The machine failed; another attempt may succeed.
    """
    if existing := run.ledger.baseline():
        if b'"unpack"' not in run.workspace.read(run.workspace.best())["base/__main__.py"].content:
            raise CaddieError(
                f"run {run.name} was started before artifacts were checked by unpacking; start another with --run"
            )
        return existing
    start = run.workspace.best()
    number = run.begin_trial("the baseline", "baseline", start, hypothesis="", proposal="{}")
    for row in run.ledger.rows():
        if row.kind == "baseline" and row.parent == start and not row.state.counts_as_attempt:
            run.ledger.transfer_measurements(row.number, number)
    folder = run.trial_folder(number)
    cleanup.remove_tree(folder)
    try:
        with run.stage(number, "the baseline", "preflight"):
            tree = run.workspace.read(start)
            report = checks.run(tree, None, run.tier.target, run.corpus, folder, run.level)
            if report.size:
                run.ledger.update(number, size=report.size.to_json())
        if not report.passed:
            raise report.findings[0].refusal()
        run.ledger.update(number, state=State.RUNNING.value)
        entry = Entry(number, "the baseline", folder / bundle.NAME, UNLIMITED)
        for tier in [tier for tier in (run.proxy, run.tier) if tier]:
            measured = [row.measured for row in run.ledger.measurement_rows(number) if row.tier == tier.name]
            for seed in new_seeds((seeds := run.tier.rule.seeds) - len(measured)):
                measured.append(measure(run, entry, tier, seed, count=f"{len(measured) + 1} of {seeds}"))
                progress()
            require_seeds_matter(measured, loss_files(run, number, tier))
    except Exception as error:
        mark_lost(run, number, State.INFRA, f"baseline: {error or type(error).__name__}")
        if isinstance(error, Refused):
            raise CaddieError(f"the baseline cannot run: {error}") from error
        raise MachineError(f"the baseline could not be measured: {error or type(error).__name__}") from error
    fingerprint = novelty.fingerprint(tree)
    run.ledger.update(number, tree=run.workspace.tree_of(start), fingerprint=fingerprint, knobs=report.knobs)
    return settle(run, number, None, State.BASELINE, measured)


def cpu_budget(run: Run, baseline: Row) -> Budget:
    """Return the CPU seconds of each phase: the most that the baseline needed, times the tier's slack."""
    rows = run.ledger.measurement_rows(baseline.number)
    measured = [row.measured for row in rows if row.tier == run.tier.name and row.fresh_for is None]

    def highest(name: str) -> float:
        return max(float(getattr(measurement, name)) for measurement in measured)

    slowest = max(measured, key=lambda measurement: measurement.train_cpu_seconds)
    return Budget(
        train_cpu_seconds=run.tier.train_cpu_slack * highest("train_cpu_seconds"),
        score_cpu_seconds=run.tier.score_cpu_slack * (highest("load_cpu_seconds") + highest("score_cpu_seconds")),
        setup_cpu_seconds=SETUP_SLACK * highest("train_setup_cpu_seconds"),
        cpu_calibration_seconds=slowest.yardstick_seconds,
    )
