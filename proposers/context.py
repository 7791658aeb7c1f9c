"""The context that a proposer gets: the brief, the incumbent's code and the trials so far; no seeds, no scored text."""

from dataclasses import dataclass
from pathlib import Path

from common.errors import NoProposal
from experiments.analysis.pairing import noise_floor, reference_seeds
from experiments.judge.noise import Noise
from experiments.ledger.rows import Row
from experiments.ledger.store import Ledger
from experiments.repo.workspace import Workspace
from experiments.run.layout import PROPOSER_FOLDER, ledger_path
from experiments.run.machine import profile_of
from experiments.tiers import Profile
from preflight.candidate.launch import LaunchConfig
from preflight.sandbox.isolation.levels import available_levels
from preflight.source.tree import Tree


@dataclass(frozen=True)
class Context:
    """A proposer's whole view of a run.

    Args:
        run: Name of the run.
        level: Isolation level of the sandbox, for a proposer that runs something.
        folder: Scratch folder of the proposer, emptied before every proposal.
        profile: The machine, and what a trial may cost on it.
        program: The brief, program.md.
        parent: Commit of the incumbent, against which a proposal is written.
        tree: The incumbent's base/.
        incumbent: Row of the incumbent; None before the baseline is measured.
        rows: Every trial so far, in order.
        noise: Noise of a paired difference.
        seeds: Number of seeds behind the incumbent's value.
    """

    run: str
    level: str
    folder: Path
    profile: Profile
    program: str
    parent: str
    tree: Tree
    incumbent: Row | None
    rows: list[Row]
    noise: Noise
    seeds: int

    @property
    def target(self) -> LaunchConfig:
        """The launch configuration of every candidate."""
        return self.profile.tier.target

    @property
    def ledger(self) -> Path:
        """The path of the database in which LLM calls are recorded."""
        return self.folder.parent / "ledger.sqlite"


def gather(root: Path, run: str, level: str | None = None) -> Context:
    """Read the brief, the incumbent's tree and the ledger.

    Raises:
        NoProposal: The run does not exist.
    """
    root = root.resolve()
    path = ledger_path(root, run)
    if not path.exists():
        raise NoProposal(f"no run {run!r} at {path.parent}; ./loop.sh --run {run} starts one")
    workspace, ledger = Workspace(root, run), Ledger(path)
    try:
        parent = workspace.best()
        program = root / "program.md"
        profile, incumbent = profile_of(ledger), ledger.incumbent()
        seeds = len(reference_seeds(ledger, incumbent, profile.tier)) if incumbent else 0
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
