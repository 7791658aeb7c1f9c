"""The states a trial passes through and the ways it can end: one list, from what preflight refuses to the ledger."""

from enum import StrEnum


class State(StrEnum):
    PROPOSED = "proposed"
    PREFLIGHT = "preflight"
    RUNNING = "running"  # train, pack, score: the runner has it
    BASELINE = "baseline"
    KEPT = "kept"
    REVERTED = "reverted"  # a provisional keep that fresh seeds did not bear out
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
    DIVERGED = "diverged"  # or made no progress
    TIMEOUT_TRAIN = "timeout(train)"
    TIMEOUT_PACK = "timeout(pack)"
    TIMEOUT_UNPACK = "timeout(unpack)"
    TIMEOUT_SCORE = "timeout(score)"
    TIMEOUT_PROOF = "timeout(proof)"
    TIMEOUT_SIZE = "timeout(size)"
    TIMEOUT_DESCRIBE = "timeout(describe)"
    TIMEOUT = "timeout"  # of a program that is no phase of a trial: a probe, a proposer's
    CRASH = "crash"
    INFRA = "infra"  # the machine's fault: tried again once, never blamed on the idea
    STOPPED = "stopped"  # by a person: tried again
    UNJUDGED = "unjudged"  # held against an incumbent that ended as dishonest: says nothing, may be proposed again

    @property
    def finished(self) -> bool:
        return self not in (State.PROPOSED, State.PREFLIGHT, State.RUNNING)

    @property
    def uses_up(self) -> bool:
        """Whether it is one of the trials that a person ordered: a mistake of form is not."""
        return self.counts and self not in (State.BASELINE, State.BAD_DIFF)

    @property
    def judged(self) -> bool:
        """Whether measurements decided it; a trial that a curve or the proxy ended is DISCARDED without a value."""
        return self in (State.KEPT, State.REVERTED, State.DISCARDED)

    @property
    def limit(self) -> bool:
        """Whether a limit ended it, rather than a fault of its own: what it had by then is shown."""
        return self in (State.OVERSIZE, State.OOM) or self.startswith("timeout")

    @property
    def counts(self) -> bool:
        """Whether the idea itself has been tried, as far as it goes."""
        return self not in (State.INFRA, State.STOPPED, State.UNJUDGED)

    @classmethod
    def timeout(cls, phase: str) -> "State":
        """How a phase ends that took too long."""
        return next((state for state in cls if state == f"timeout({phase})"), cls.TIMEOUT)
