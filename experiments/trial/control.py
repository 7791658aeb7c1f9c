"""A control run of the baseline after several failures: if it still works, the machine is not at fault.

A program that kills its own supervisor, or kills itself the way the kernel would, looks like a machine that fails.
Three such programs in a row must not end the run.
"""

from secrets import randbelow

from common.errors import CaddieError
from experiments.ledger.rows import Row
from experiments.run.run import Run
from experiments.trial.measure import program_path
from preflight import smoke
from preflight.candidate.candidate import Candidate
from preflight.sandbox.cleanup import remove_tree


def baseline_runs(run: Run, baseline: Row) -> bool:
    """Return True if a few training steps of the baseline succeed on this machine now."""
    work = run.work_folder()
    try:
        candidate = Candidate(program_path(run, baseline), run.tier.target, run.level)
        smoke.train(candidate, run.corpus, work, (1 + randbelow(1 << 30),))
    except (CaddieError, OSError):
        return False
    finally:
        remove_tree(work)
    return True
