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
    KEPT_BY_PERSON = "kept (person)"  # a person's decision, whatever the judge's verdict was
    REVERTED = "reverted"  # a provisional keep that fresh seeds did not confirm
    REVERTED_BY_PERSON = "reverted (person)"  # it was kept until a person took it back
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
    def decided_by_person(self) -> bool:
        """True if a person's decision replaced the judge's verdict."""
        return self in (State.KEPT_BY_PERSON, State.REVERTED_BY_PERSON)

    @property
    def is_kept(self) -> bool:
        """True if the trial is, or was until the next keep, the incumbent."""
        return self in (State.KEPT, State.KEPT_BY_PERSON, State.BASELINE)

    @property
    def hit_limit(self) -> bool:
        """True if a limit ended it rather than a fault of its own: its results up to then are shown."""
        return self in (State.OVERSIZE, State.OOM) or self.startswith("timeout")

    @property
    def counts_as_attempt(self) -> bool:
        """True if the idea itself has been tried, as far as it went."""
        return self not in (State.INFRA, State.STOPPED, State.UNJUDGED)

    @property
    def meaning(self) -> str:
        """The state in a sentence for people."""
        return MEANINGS[self]

    @classmethod
    def timeout(cls, phase: str) -> "State":
        """Return the state of a trial that exceeded the time limit of `phase`."""
        return next((state for state in cls if state == f"timeout({phase})"), cls.TIMEOUT)


TIMED_OUT = "a phase took longer than its limit; a value it had by then is shown in parentheses and does not count"
MEANINGS = {
    State.PROPOSED: "about to be checked",
    State.PREFLIGHT: "being checked: static rules, a smoke run, size",
    State.RUNNING: "being trained, packed and scored",
    State.BASELINE: "the tree that the run started from",
    State.KEPT: "passed the test on shared seeds and again on fresh ones: the incumbent from then on",
    State.KEPT_BY_PERSON: "made the incumbent by a person, whatever the judge's verdict was; in no sum of gains",
    State.REVERTED: "passed the test on shared seeds, not on fresh ones",
    State.REVERTED_BY_PERSON: "was kept until a person took it back",
    State.DISCARDED: "not better than the incumbent by more than the noise",
    State.NO_OP: "the edits change nothing that runs",
    State.DUPLICATE: "this tree, or nearly these lines, were tried before",
    State.BAD_DIFF: "the proposal cannot be read, or does not apply to the incumbent",
    State.STATIC: "breaks a rule that is checked without running it",
    State.OVERSIZE: "code and model are larger than the cap",
    State.DISHONEST: (
        "the losses could not come from one normalized, causal model, or the candidate used what another job had left"
    ),
    State.SEED_IGNORED: "two seeds gave the same artifact, or losses that hardly differ",
    State.OOM: "used more memory than the limit",
    State.NAN: "the loss was not a number",
    State.DIVERGED: "the loss rose far above its best, or did not fall",
    State.CRASH: "its own training, packing or scoring failed",
    State.INFRA: "the machine failed; retried once, never blamed on the idea",
    State.STOPPED: "stopped by you; the idea comes back first",
    State.UNJUDGED: "was compared with an incumbent that turned out to be dishonest; may be proposed again",
    **{state: TIMED_OUT for state in State if state.startswith("timeout")},
}
