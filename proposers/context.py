"""What a proposer may know: the brief, the incumbent's code, what was tried; never seeds or scored text."""

from dataclasses import dataclass
from pathlib import Path

from data.errors import CaddieError, NoProposal
from experiments.asking import PROPOSER_FOLDER
from experiments.judge import Noise
from experiments.ledger import Ledger, Row
from experiments.replicates import generation, noise_floor
from experiments.runs import ledger_path
from experiments.tiers import PROFILES, Profile
from experiments.workspace import Workspace
from preflight.phases import Target
from preflight.sandbox.isolation import available_levels
from preflight.tree import Tree


@dataclass(frozen=True)
class Context:
    """A proposer's whole view of a run."""

    run: str
    level: str  # of the sandbox, for a proposer that runs something
    folder: Path  # for whatever a proposer needs to write; emptied before every proposal
    profile: Profile  # the machine, and what a trial may cost on it
    program: str  # program.md
    parent: str  # the incumbent's commit, which a proposal is written against
    tree: Tree  # its base/
    incumbent: Row | None
    rows: list[Row]  # every trial so far, in order
    noise: Noise  # of a paired difference
    seeds: int  # that the incumbent's value stands on

    @property
    def target(self) -> Target:
        """What candidates are run as."""
        return self.profile.tier.target

    @property
    def ledger(self) -> Path:
        """Where calls of an LLM are booked."""
        return self.folder.parent / "ledger.sqlite"


def gather(root: Path, run: str, level: str | None = None) -> Context:
    """Read the brief, the incumbent's tree and the ledger."""
    root = root.resolve()
    path = ledger_path(root, run)
    if not path.exists():
        raise NoProposal(f"no run {run!r} at {path.parent}; ./loop.sh --run {run} starts one")
    workspace, ledger = Workspace(root, run), Ledger(path)
    try:
        parent = workspace.best()
        program = root / "program.md"
        name = ledger.fact("profile")
        if name not in PROFILES:
            raise CaddieError(f"run {run} has profile {name!r}, expected one of {', '.join(PROFILES)}")
        profile, incumbent = PROFILES[name], ledger.incumbent()
        seeds = len(generation(ledger, incumbent, profile.tier)) if incumbent else 0
        return Context(
            run=run,
            level=level or available_levels()[0],
            folder=path.parent / PROPOSER_FOLDER,
            profile=profile,
            program=program.read_text(encoding="utf-8") if program.exists() else "",
            parent=parent,
            tree=workspace.read(parent),
            incumbent=incumbent,
            rows=ledger.rows(),
            noise=noise_floor(ledger, profile.tier),
            seeds=seeds or profile.tier.rule.seeds,
        )
    finally:
        ledger.close()
