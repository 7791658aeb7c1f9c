"""What a proposer may know: the brief, the incumbent's code, what was tried; never seeds or scored text."""

from dataclasses import dataclass
from pathlib import Path

from data.errors import CaddieError, NoProposal
from experiments.ledger import Ledger, Row
from experiments.loop import PROPOSER_FOLDER
from experiments.tiers import PROFILES
from experiments.workspace import Workspace
from preflight.phases import Target
from preflight.tree import Tree
from preflight.walls import available_levels


@dataclass(frozen=True)
class Context:
    """A proposer's whole view of a run."""

    run: str
    level: str  # of the sandbox, for a proposer that runs something
    folder: Path  # for whatever a proposer needs to write; emptied before every proposal
    target: Target  # what candidates are run as
    program: str  # program.md
    parent: str  # the incumbent's commit, which a proposal is written against
    tree: Tree  # its base/
    incumbent: Row | None
    rows: list[Row]  # every trial so far, in order


def gather(root: Path, run: str, level: str | None = None) -> Context:
    """Read the brief, the incumbent's tree and the ledger."""
    root = root.resolve()
    path = root / "trials" / run / "ledger.sqlite"
    if not path.exists():
        raise NoProposal(f"no run {run!r} at {path.parent}; ./loop.sh --run {run} starts one")
    workspace, ledger = Workspace(root, run), Ledger(path)
    parent = workspace.best()
    program = root / "program.md"
    profile = ledger.fact("profile")
    if profile not in PROFILES:
        raise CaddieError(f"run {run} has profile {profile!r}, expected one of {', '.join(PROFILES)}")
    return Context(
        run=run,
        level=level or available_levels()[0],
        folder=path.parent / PROPOSER_FOLDER,
        target=PROFILES[profile].tier.target,
        program=program.read_text() if program.exists() else "",
        parent=parent,
        tree=workspace.read(parent),
        incumbent=ledger.incumbent(),
        rows=ledger.rows(),
    )
