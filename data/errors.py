"""The one tree of errors, each raised with a single line: got, expected, what to do.

CaddieError
├── DataError               data/: a shard, a tokenizer or a corpus is not what its header or manifest says
├── SandboxError            preflight/: the sandbox itself could not be set up (never the candidate's fault)
├── Refused                 preflight/, experiments/: the candidate's fault, with the verdict the ledger types it by
├── ProposalError           experiments/: a proposal that is not valid data
├── WorkspaceError          experiments/: git could not do what the loop needs
├── LedgerError             experiments/: the run's database is not usable
├── IncumbentFailed         experiments/: the incumbent falls behind the numbers it was kept by; it ends, nobody else
├── MachineError            experiments/: the machine failed again and again; the same may work later
├── ProposerFailed          proposers/: this time there is no proposal; asked again, there may be one
├── NoProposal              proposers/: the proposer has nothing (more) to propose
│   └── Exhausted           ... of this kind; another proposer may have one
└── NeedsPerson             proposers/: only a person can go on: a key, a bill, a model's name
"""

from collections.abc import Mapping

from data.state import State


class CaddieError(Exception):
    """Anything caddie raises on purpose; its text is one line a person can act on."""


class DataError(CaddieError):
    """A file does not hold what its name, header or manifest promises."""


class SandboxError(CaddieError):
    """The machine cannot run a candidate safely; infrastructure, not the candidate."""


class Refused(CaddieError):
    """The candidate broke a rule or its own run; `verdict` is the state that its row ends in.

    What a limit ended may have had a value by then, and used up shares of its budgets: (used, limit) by name.
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

    def reworded(self, message: str) -> "Refused":
        """The same in other words."""
        return Refused(self.verdict, message, self.val_bpb, self.delta_bpb, self.spent)


class ProposalError(Refused):
    """A proposal that does not parse, does not apply, or names what it may not."""


class WorkspaceError(CaddieError):
    """Git could not do what was asked."""


class LedgerError(CaddieError):
    """The ledger is missing, locked or newer than this code."""


class IncumbentFailed(CaddieError):
    """What a trial was to be held against does not hold itself; says nothing about the trial."""


class MachineError(CaddieError):
    """Several failures in a row that no candidate caused; loop.sh starts again after a pause."""


class ProposerFailed(CaddieError):
    """The proposer crashed, took too long or lost its connection."""


class NoProposal(CaddieError):
    """The proposer has no proposal to give."""


class Exhausted(NoProposal):
    """This proposer has nothing new, or its model will not answer; others may go on."""


class NeedsPerson(CaddieError):
    """What the proposer needs is for a person to give; asking again would not help."""
