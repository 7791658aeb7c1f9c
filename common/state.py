"""The states of a trial: those it passes through and those it can end in, shared by preflight and the ledger."""

from enum import StrEnum

ATTEMPTS = 2  # per idea whose trial ends in an infrastructure failure; there is no third


class State(StrEnum):
    """The state of a trial, as its ledger row stores it."""

    PROPOSED = "proposed"
    PREFLIGHT = "preflight"
    RUNNING = "running"  # train, pack, score: in the runner
    BASELINE = "baseline"
    KEPT = "kept"
    REVERTED = "reverted"  # a provisional keep that fresh seeds did not confirm
    DISCARDED = "discarded"
    NO_OP = "no_op"
    DUPLICATE = "duplicate"
    BAD_DIFF = "bad_diff"
    STATIC = "static"
    OVERSIZE = "oversize"
    DISHONEST = "dishonest"
    SEED_IGNORED = "seed_ignored"
    OOM = "oom"
    NAN = "nan"
    DIVERGED = "diverged"  # or no progress
    TIMEOUT_TRAIN = "timeout(train)"
    TIMEOUT_PACK = "timeout(pack)"
    TIMEOUT_UNPACK = "timeout(unpack)"
    TIMEOUT_SCORE = "timeout(score)"
    TIMEOUT_PROOF = "timeout(proof)"
    TIMEOUT_SIZE = "timeout(size)"
    TIMEOUT_DESCRIBE = "timeout(describe)"
    TIMEOUT = "timeout"  # of a program outside a trial's phases: a probe, a proposer's
    CRASH = "crash"
    INFRA = "infra"  # infrastructure failure: retried once, never blamed on the idea
    STOPPED = "stopped"  # by the user: retried
    UNJUDGED = "unjudged"  # compared with an incumbent that ended as dishonest: inconclusive, may be proposed again

    @property
    def finished(self) -> bool:
        """True once the trial has ended, in whatever way."""
        return self not in (State.PROPOSED, State.PREFLIGHT, State.RUNNING)

    @property
    def counts_as_trial(self) -> bool:
        """True if it is one of the trials that the user asked for; a malformed proposal is not."""
        return self.counts_as_attempt and self not in (State.BASELINE, State.BAD_DIFF)

    @property
    def judged(self) -> bool:
        """True if measurements decided it; a trial stopped by its curve or the proxy is DISCARDED without a value."""
        return self in (State.KEPT, State.REVERTED, State.DISCARDED)

    @property
    def hit_limit(self) -> bool:
        """True if a limit ended it rather than a fault of its own: its results up to then are shown."""
        return self in (State.OVERSIZE, State.OOM) or self.startswith("timeout")

    @property
    def counts_as_attempt(self) -> bool:
        """True if the idea itself has been tried, as far as it went."""
        return self not in (State.INFRA, State.STOPPED, State.UNJUDGED)

    @classmethod
    def timeout(cls, phase: str) -> "State":
        """Return the state of a trial that exceeded the time limit of `phase`."""
        return next((state for state in cls if state == f"timeout({phase})"), cls.TIMEOUT)
