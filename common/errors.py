"""The hierarchy of errors. Each is raised with one line: what was got, what was expected, what to do.

CaddieError
├── DataError               data/: a shard, a tokenizer or a corpus is not what its header or manifest says
├── SandboxError            preflight/: the sandbox itself could not be set up (never the candidate's fault)
├── Refused                 preflight/, experiments/: the candidate's fault, with the state for its ledger row
│   └── ProposalError       experiments/: a proposal that is not valid data
├── WorkspaceError          experiments/: git could not do what the loop needs
├── LedgerError             experiments/: the run's database is not usable
├── IncumbentFailed         experiments/: the incumbent falls behind the values it was kept for; ends only the incumbent
├── MachineError            experiments/: the machine failed repeatedly; the same command may work later
├── ProposerFailed          proposers/: no proposal this time; another attempt may give one
├── NoProposal              proposers/: the proposer has nothing (more) to propose
│   └── Exhausted           ... of its kind; another proposer may have something
└── NeedsPerson             proposers/: only a person can fix it: a key, a bill, a model's name
"""

from collections.abc import Mapping

from common.state import State


class CaddieError(Exception):
    """The base of every error that caddie raises on purpose; its message is one line that a person can act on."""


class DataError(CaddieError):
    """A file does not hold what its name, header or manifest promises."""


class SandboxError(CaddieError):
    """The machine cannot run a candidate safely; an infrastructure failure, not the candidate's fault."""


class Refused(CaddieError):
    """The candidate broke a rule or failed by itself.

    Args:
        verdict: The state that its ledger row ends in.
        message: One line: what was got and what was expected.
        val_bpb: Its score so far, where a limit ended a run that already had one.
        delta_bpb: The same as a difference to the reference.
        spent: What it used of its budgets until then, as (used, limit) by name.

    Example:
        >>> raise Refused(State.OVERSIZE, "artifact: got 256,001 bytes, expected at most 256,000")
    """

    def __init__(
        self,
        verdict: State,
        message: str,
        val_bpb: float | None = None,
        delta_bpb: float | None = None,
        spent: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        super().__init__(message)
        self.verdict, self.val_bpb, self.delta_bpb, self.spent = verdict, val_bpb, delta_bpb, dict(spent or {})

    def with_message(self, message: str) -> "Refused":
        """Return the same refusal with another message."""
        return Refused(self.verdict, message, self.val_bpb, self.delta_bpb, self.spent)


class ProposalError(Refused):
    """A proposal does not parse, does not apply, or names something that it may not."""


class WorkspaceError(CaddieError):
    """Git could not do what was asked."""


class LedgerError(CaddieError):
    """The ledger is missing, locked or newer than this code."""


class IncumbentFailed(CaddieError):
    """The incumbent that a trial was to be compared with does not reproduce; this says nothing about the trial."""


class MachineError(CaddieError):
    """Several failures in a row that no candidate caused; loop.sh restarts after a pause."""


class ProposerFailed(CaddieError):
    """The proposer crashed, timed out or lost its connection."""


class NoProposal(CaddieError):
    """The proposer has no proposal to give."""


class Exhausted(NoProposal):
    """This proposer has nothing new, or its model refuses to answer; other proposers may continue."""


class NeedsPerson(CaddieError):
    """The proposer needs something that only a person can provide; retrying would not help."""
