"""Contexts for proposers, without a run on disk."""

from pathlib import Path

from common.state import State
from experiments.ledger.rows import Row
from experiments.tiers import PROFILES
from preflight.sandbox.isolation.levels import available_levels
from preflight.source.tree import Tree
from proposers.context import Context


def context(tree: Tree, rows: list[Row] = (), folder: Path = Path("proposer"), profile="pocket", **fields) -> Context:
    """Return the context of a run of which only `folder` is on disk; `fields` override its fields."""
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
