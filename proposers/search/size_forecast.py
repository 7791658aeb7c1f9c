"""A forecast of artifact sizes: the measured size of the incumbent, scaled by the untrained sizes of both trees."""

from collections.abc import Callable

from common.errors import Refused
from preflight.candidate.size import untrained_bytes
from preflight.source.tree import Tree
from proposers.context import Context

MARGIN = 1.12  # error of the forecast in both directions (dev/benchmarks/search.md)


def forecast(context: Context) -> Callable[[Tree], tuple[int, int]]:
    """Return a function from a tree to the interval of bytes in which its artifact should fall; it raises Refused."""
    level, folder = context.level, context.folder / "size"
    incumbent = context.incumbent
    reference = untrained_bytes(context.tree, context.target, folder, level)
    measured = incumbent.artifact_bytes if incumbent and incumbent.artifact_bytes else reference

    def interval(tree: Tree) -> tuple[int, int]:
        expected = measured * untrained_bytes(tree, context.target, folder, level) / reference
        return int(expected / MARGIN), int(expected * MARGIN)

    return interval


def fits(interval: Callable[[Tree], tuple[int, int]], tree: Tree, cap_bytes: int) -> bool:
    """Return whether the upper end of the interval stays within the cap; a tree that does not build does not fit."""
    try:
        return interval(tree)[1] <= cap_bytes
    except Refused:
        return False
