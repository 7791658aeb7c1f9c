"""The scripted proposer: replays a folder of JSON files in the order of their names, for the demo and most tests."""

import json
from collections import Counter
from pathlib import Path

from common.errors import NoProposal, ProposalError
from common.state import ATTEMPTS, State
from experiments.proposal.options import ProposerOptions
from experiments.proposal.parts import edits_of, title_of
from proposers import Proposer
from proposers.context import Context
from proposers.reply import json_object

DEMO = Path(__file__).resolve().parent / "demo"


class Scripted(Proposer):
    """Propose the first file whose edits no trial has had.

    A proposal whose trial ended in an infrastructure failure is proposed a second time, but not a third. A file in
    which no edits can be read is recognized by its title alone: each trial of that title uses up one such file.

    Args:
        folder: The folder with the proposals, one `*.json` file each.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def propose(self, context: Context) -> str:
        tried = {edits_of(row.proposal) for row in context.rows if row.state.counts_as_attempt}
        failures = Counter(edits_of(row.proposal) for row in context.rows if row.state is State.INFRA)
        tried |= {edits for edits, times in failures.items() if times >= ATTEMPTS}
        unreadable = Counter(row.title for row in context.rows if not edits_of(row.proposal))
        files = sorted(self.folder.glob("*.json"))
        for file in files:
            text = file.read_text(encoding="utf-8", errors="backslashreplace")
            recorded = _as_recorded(text)
            if edits := edits_of(recorded):
                if edits not in tried:
                    return text
            elif (title := title_of(recorded)) in +unreadable:
                unreadable[title] -= 1
            else:
                return text
        raise NoProposal(f"all {len(files)} proposals of {self.folder.name} have been tried")


def _as_recorded(text: str) -> str:
    """Return the text as a row of the ledger would hold it."""
    try:
        return json.dumps(json_object(text))
    except ProposalError:
        return text


def scripted(options: ProposerOptions) -> Scripted:
    return Scripted(options.script or DEMO)
