"""Will a tree fit? Its untrained size against the incumbent's, times what the incumbent measured."""

from collections.abc import Callable

from data.errors import Refused
from preflight.size import untrained_bytes
from preflight.tree import Tree
from proposers.context import Context

MARGIN = 1.12  # the forecast's own error, both ways (dev/benchmarks/search.md)


def forecast(context: Context) -> Callable[[Tree], tuple[int, int]]:
    """A function from a tree to the interval its artifact should fall in, in bytes; it raises Refused."""
    level, folder = context.level, context.folder / "size"
    incumbent = context.incumbent
    reference = untrained_bytes(context.tree, context.target, folder, level)
    measured = incumbent.artifact_bytes if incumbent and incumbent.artifact_bytes else reference

    def interval(tree: Tree) -> tuple[int, int]:
        expected = measured * untrained_bytes(tree, context.target, folder, level) / reference
        return int(expected / MARGIN), int(expected * MARGIN)

    return interval


def fits(interval: Callable[[Tree], tuple[int, int]], tree: Tree, cap_bytes: int) -> bool:
    """Whether even the upper end stays under the cap; a tree that does not build does not fit."""
    try:
        return interval(tree)[1] <= cap_bytes
    except Refused:
        return False
