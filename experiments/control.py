"""A control after failures: where the baseline still runs, it was not the machine.

A program that ends its own supervisor, or itself as the kernel would, looks like a machine that fails. Three such in a
row must not end a night.
"""

from secrets import randbelow

from data.errors import CaddieError
from experiments.bench import Bench
from experiments.ledger import Row
from experiments.measurement import program_of
from preflight import smoke
from preflight.phases import Candidate
from preflight.sandbox.cleanup import discard


def baseline_runs(bench: Bench, start: Row) -> bool:
    """Whether a few steps of the baseline's training end well, here and now."""
    work = bench.work_folder()
    try:
        candidate = Candidate(program_of(bench, start), bench.tier.target, bench.level)
        smoke.train(candidate, bench.corpus, work, (1 + randbelow(1 << 30),))
    except (CaddieError, OSError):
        return False
    finally:
        discard(work)
    return True
