"""A proposer's view of a run, without the run."""

from pathlib import Path

from data.state import State
from experiments.ledger import Row
from experiments.tiers import PROFILES
from preflight.sandbox.isolation import available_levels
from preflight.tree import Tree
from proposers.context import Context


def context(tree: Tree, rows: list[Row] = (), folder: Path = Path("proposer"), profile="pocket", **fields) -> Context:
    """A proposer's view of a run that is nowhere on disk but for `folder`."""
    values = {
        "run": "night",
        "level": available_levels()[0],
        "folder": folder,
        "profile": PROFILES[profile],
        "program": "the brief",
        "parent": "a" * 40,
        "tree": tree,
        "incumbent": next((row for row in rows if row.state is State.BASELINE), None),
        "rows": list(rows),
        "noise": PROFILES[profile].tier.expected_noise,
        "seeds": 3,
    }
    return Context(**values | fields)
