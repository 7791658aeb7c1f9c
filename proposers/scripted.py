"""Replays proposals from a folder of JSON files, in the order of their names: the demo, and most tests."""

from pathlib import Path

from data.errors import NoProposal
from experiments.proposal import title_of
from experiments.state import State
from proposers.context import Context

DEMO = Path(__file__).resolve().parent / "demo"


class Scripted:
    """The first file whose title no settled trial bears; what the machine ended (`infra`) is proposed again."""

    def __init__(self, script: Path | None) -> None:
        self.folder = script or DEMO

    def propose(self, context: Context) -> str:
        tried = {row.title for row in context.rows if row.state is not State.INFRA}
        files = sorted(self.folder.glob("*.json"))
        for file in files:
            text = file.read_text(encoding="utf-8", errors="backslashreplace")
            if title_of(text) not in tried:
                return text
        raise NoProposal(f"all {len(files)} proposals of {self.folder.name} have been tried")

    def repair(self, message: str) -> str | None:
        return None
