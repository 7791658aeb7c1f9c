"""Start untrusted programs, limit them and end them."""

from preflight.sandbox.job import Job, Limits, Outcome, take
from preflight.sandbox.start import Running, run, start, wipe_shared_state

__all__ = ["Job", "Limits", "Outcome", "Running", "run", "start", "take", "wipe_shared_state"]
