"""Replays proposals from a folder of JSON files, in the order of their names: the demo, and most tests."""

import json
from collections import Counter
from pathlib import Path

from data.errors import NoProposal, ProposalError
from data.state import State
from experiments.proposal import edits_of, title_of
from experiments.trial import LOST_TWICE
from proposers import Options
from proposers.context import Context
from proposers.reply import json_object

DEMO = Path(__file__).resolve().parent / "demo"


class Scripted:
    """The first file whose edits no trial has; what ended with the machine is proposed a second time, not a third.

    A file in which no edits can be read is known by its title alone, once for every trial of that title.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def propose(self, context: Context) -> str:
        tried = {edits_of(row.proposal) for row in context.rows if row.state.counts}
        lost = Counter(edits_of(row.proposal) for row in context.rows if row.state is State.INFRA)
        tried |= {edits for edits, times in lost.items() if times >= LOST_TWICE}
        unread = Counter(row.title for row in context.rows if not edits_of(row.proposal))
        files = sorted(self.folder.glob("*.json"))
        for file in files:
            text = file.read_text(encoding="utf-8", errors="backslashreplace")
            found = _as_json(text)
            if edits := edits_of(found):
                if edits not in tried:
                    return text
            elif (title := title_of(found)) in +unread:
                unread[title] -= 1
            else:
                return text
        raise NoProposal(f"all {len(files)} proposals of {self.folder.name} have been tried")

    def repair(self, message: str) -> str | None:
        return None


def _as_json(text: str) -> str:
    """What a reply is read as, and so what a row of it holds."""
    try:
        return json.dumps(json_object(text))
    except ProposalError:
        return text


def scripted(options: Options) -> Scripted:
    return Scripted(options.script or DEMO)
