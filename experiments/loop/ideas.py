"""Sources of the next idea: first what was interrupted, then what a person asked for, then the proposer."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from common.errors import CaddieError, MachineError, NoProposal, SandboxError
from common.state import ATTEMPTS, State
from common.text import one_line
from experiments.ledger.requests import DROPPED, Request
from experiments.ledger.rows import Row
from experiments.ledger.store import Ledger
from experiments.loop.proposer_process import ProposalPrefetcher
from experiments.proposal.by_person import rebase
from experiments.proposal.parts import PERSON, by_of, edits_of
from experiments.proposal.schema import Proposal
from experiments.run.run import Run
from experiments.trial import later

NOTHING_ASKED = "everything that was asked for is done"


@dataclass(frozen=True)
class Idea:
    """A proposal to try.

    Args:
        text: The proposal.
        by_person: A person asked for it, now or before it was interrupted.
        request: The request that it fulfills, if it is one.
    """

    text: str
    by_person: bool = False
    request: Request | None = None


class Ideas:
    """The ideas of a run, one after another.

    Args:
        run: The run.
        prefetcher: Where ideas come from if nobody asked for one; None to end then.
        say: Called with one line for each request that is carried out on the way.
    """

    def __init__(self, run: Run, prefetcher: ProposalPrefetcher | None, say: Callable[[str], None]) -> None:
        self.run, self.prefetcher, self.say = run, prefetcher, say

    def next(self, requests_only: bool = False) -> Idea | None:
        """Return the next idea; None after a request that is no idea was carried out, so that limits are looked at.

        Args:
            requests_only: Ask no proposer: the trials that were ordered are done.

        Raises:
            NoProposal: There is none left.
            CaddieError: The proposer or the machine failed.
        """
        ledger = self.run.ledger
        if self.prefetcher and (lost := interrupted(ledger, self.run.workspace.best())):
            self.say(f"trial {lost.number:04d} was interrupted; its idea comes first")
            request = request_of(ledger.requests(), lost.proposal)
            return Idea(lost.proposal, by_of(lost.proposal) == PERSON, request)
        if request := ledger.next_request():
            return self._fulfill(request)
        if self.prefetcher is None or requests_only:
            raise NoProposal(NOTHING_ASKED)
        return Idea(self.prefetcher.next())

    def _fulfill(self, request: Request) -> Idea | None:
        """Return a person's change as an idea, or carry out what else a person asked for."""
        ledger = self.run.ledger
        try:
            if request.action == "try":
                return self._asked(request)
            ledger.finish_request(request.number, outcome := self._carry_out(request))
            self.say(outcome)
        except (MachineError, SandboxError):
            raise
        except CaddieError as error:
            ledger.finish_request(request.number, outcome := one_line(f"not done: {error}", 600))
            self.say(f"{request.action}: {outcome}")
        return None

    def prefetch(self) -> None:
        """Let the proposer begin with the next idea."""
        if self.prefetcher:
            self.prefetcher.prefetch()

    def stop(self) -> None:
        """End what the proposer is doing."""
        if self.prefetcher:
            self.prefetcher.stop()

    def _asked(self, request: Request) -> Idea | None:
        """Return a person's change as an idea against the incumbent; None if it was tried before a crash."""
        run = self.run
        proposal, best = Proposal.parse(request.argument), run.workspace.best()
        for row in run.ledger.rows():
            same = row.started_at >= request.asked_at and row.proposal == proposal.to_json()
            if same and row.state.counts_as_attempt:
                run.ledger.finish_request(request.number, f"trial {row.number:04d}: {row.state}")
                return None
        if proposal.parent != best:
            proposal = rebase(run.workspace, proposal, best)
            run.ledger.replace_request(request.number, proposal.to_json())
        return Idea(proposal.to_json(), by_person=True, request=request)

    def _carry_out(self, request: Request) -> str:
        run, trial = self.run, request.trial
        assert trial is not None
        if request.action == "seeds":
            return later.more_seeds(run, trial, int(request.argument))
        if request.action == "keep":
            return later.keep(run, trial, request.argument)
        return later.revert(run, trial, request.argument)


def interrupted(ledger: Ledger, parent: str) -> Row | None:
    """Return the oldest lost trial on the incumbent whose idea was not tried since and may be tried again."""
    rows = ledger.rows()
    lost = [row for row in rows if row.state in (State.INFRA, State.STOPPED) and row.parent == parent]
    if not (lost := [row for row in lost if edits_of(row.proposal)]):
        return None
    done = {edits_of(row.proposal) for row in rows if row.state.counts_as_attempt}
    done |= {edits_of(request.argument) for request in ledger.requests() if request.outcome == DROPPED}
    failures = Counter(edits_of(row.proposal) for row in rows if row.state is State.INFRA)
    waiting = (row for row in lost if (edits := edits_of(row.proposal)) not in done and failures[edits] < ATTEMPTS)
    return next(waiting, None)


def request_of(requests: list[Request], proposal: str) -> Request | None:
    """Return the request that waits for a recorded proposal, if a person made it."""
    edits, waiting = edits_of(proposal), [each for each in requests if each.action == "try" and not each.outcome]
    return next((each for each in waiting if edits_of(each.argument) == edits), None)
