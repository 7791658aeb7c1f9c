"""The tree that a run starts from, measured on its first seeds, and the CPU seconds that others get by it."""

from collections.abc import Callable

from data.errors import CaddieError, MachineError, Refused
from data.state import State
from experiments import novelty
from experiments.bench import Bench
from experiments.job import UNLIMITED, Budget
from experiments.ledger import Row
from experiments.luck import require_seeds_matter
from experiments.measurement import Entry, losses_of, measure
from experiments.replicates import new_seeds
from experiments.settle import settle, settle_lost
from preflight import bundle, checks
from preflight.sandbox import cleanup

SETUP_SLACK = 1.1  # of the baseline's set-up: a few seconds, counted less exactly than training


def baseline(bench: Bench, progress: Callable[[], None] = lambda: None) -> Row:
    """Trial 0 (or a later row after a crash): the tree the run starts from, on seeds enough to see the noise.

    `progress` hears of every seed: none is measured twice because a later one was lost with the machine.
    """
    if known := bench.ledger.baseline():
        if b'"unpack"' not in bench.workspace.read(bench.workspace.best())["base/__main__.py"].content:
            raise CaddieError(f"run {bench.run} was begun before packing was checked by unpacking; start another --run")
        return known
    start = bench.workspace.best()
    number = bench.intent("the baseline", "baseline", start, hypothesis="", proposal="{}")
    for row in bench.ledger.rows():
        if row.kind == "baseline" and row.parent == start and not row.state.counts:
            bench.ledger.hand_over(row.number, number)
    folder = bench.trial_folder(number)
    cleanup.discard(folder)
    try:
        with bench.stage(number, "the baseline", "preflight"):
            tree = bench.workspace.read(start)
            report = checks.run(tree, None, bench.tier.target, bench.corpus, folder, bench.level)
        if not report.passed:
            raise report.findings[0].refusal()
        bench.ledger.update(number, state=State.RUNNING.value)
        entry = Entry(number, "the baseline", folder / bundle.NAME, UNLIMITED)
        for tier in [tier for tier in (bench.proxy, bench.tier) if tier]:
            measured = [one.measured for one in bench.ledger.taken(number) if one.tier == tier.name]
            for seed in new_seeds(bench.tier.rule.seeds - len(measured)):
                measured.append(measure(bench, entry, tier, seed))
                progress()
            require_seeds_matter(measured, losses_of(bench, number, tier))
    except Exception as error:
        settle_lost(bench, number, State.INFRA, f"baseline: {error or type(error).__name__}")
        if isinstance(error, Refused):
            raise CaddieError(f"the baseline cannot run: {error}") from error
        raise MachineError(f"the baseline could not be measured: {error or type(error).__name__}") from error
    name = novelty.fingerprint(tree)
    bench.ledger.update(number, tree=bench.workspace.tree_of(start), fingerprint=name, knobs=report.knobs)
    return settle(bench, number, None, State.BASELINE, measured)


def budget(bench: Bench, start: Row) -> Budget:
    """CPU seconds per phase: what the baseline needed, times the tier's slack."""
    taken = [one for one in bench.ledger.taken(start.number) if one.tier == bench.tier.name and one.fresh_for is None]
    measured = [one.measured for one in taken]

    def most(name: str) -> float:
        return max(float(getattr(one, name)) for one in measured)

    return Budget(
        train_cpu_seconds=bench.tier.train_cpu_slack * most("train_cpu_seconds"),
        score_cpu_seconds=bench.tier.score_cpu_slack * (most("load_cpu_seconds") + most("score_cpu_seconds")),
        setup_cpu_seconds=SETUP_SLACK * most("train_setup_cpu_seconds"),
        yardstick_seconds=max(measured, key=lambda one: one.train_cpu_seconds).yardstick_seconds,
    )
