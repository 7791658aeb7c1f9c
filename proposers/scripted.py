"""Replays proposals from a folder of JSON files, in the order of their names: the demo, and most tests."""

from collections import Counter
from pathlib import Path

from data.errors import NoProposal
from data.state import State
from experiments.proposal import title_of
from experiments.trial import LOST_TWICE
from proposers import Options
from proposers.context import Context

DEMO = Path(__file__).resolve().parent / "demo"


class Scripted:
    """The first file whose title no trial bears; what ended with the machine is proposed a second time, not a third."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def propose(self, context: Context) -> str:
        tried = {row.title for row in context.rows if row.state.counts}
        lost = Counter(row.title for row in context.rows if row.state is State.INFRA)
        tried |= {title for title, times in lost.items() if times >= LOST_TWICE}
        files = sorted(self.folder.glob("*.json"))
        for file in files:
            text = file.read_text(encoding="utf-8", errors="backslashreplace")
            if title_of(text) not in tried:
                return text
        raise NoProposal(f"all {len(files)} proposals of {self.folder.name} have been tried")

    def repair(self, message: str) -> str | None:
        return None


def scripted(options: Options) -> Scripted:
    return Scripted(options.script or DEMO)
