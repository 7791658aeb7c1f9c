"""Bits per matrix: the choice of smallest loss under a cap on bytes, exact, by Lagrange multipliers and a search.

The multiplier gives the best choice on the convex hull and a bound on every other one; a search over partial choices
that no bound excludes closes the gap between hull and cap (arXiv 1911.03852 allocates by Hessian traces alike).
"""

from collections.abc import Sequence
from typing import NamedTuple

BISECTIONS = 100
MOST_STATES = 200_000  # of one step of the search; beyond it the best on the hull is returned
ROUNDING = 1e-9


class Option(NamedTuple):
    """One way to quantize a matrix."""

    loss: float
    bytes: int


def allocate(options: Sequence[Sequence[Option]], cap_bytes: int) -> list[int]:
    """Return the option of each matrix with the smallest sum of losses whose bytes sum to at most `cap_bytes`.

    The smallest options are returned if nothing fits: the size is then the caller's to report.
    """
    smallest = [min(range(len(choices)), key=lambda i: (choices[i].bytes, choices[i].loss)) for choices in options]
    if total_bytes(options, smallest) >= cap_bytes:
        return smallest
    price = _price(options, cap_bytes)
    hull = [_cheapest(choices, price) for choices in options]
    if total_bytes(options, hull) > cap_bytes:
        hull = smallest
    return _search(options, cap_bytes, price, hull)


def total_bytes(options: Sequence[Sequence[Option]], chosen: Sequence[int]) -> int:
    return sum(choices[i].bytes for choices, i in zip(options, chosen, strict=True))


def total_loss(options: Sequence[Sequence[Option]], chosen: Sequence[int]) -> float:
    return sum(choices[i].loss for choices, i in zip(options, chosen, strict=True))


def _cheapest(choices: Sequence[Option], price: float) -> int:
    return min(range(len(choices)), key=lambda i: (choices[i].loss + price * choices[i].bytes, choices[i].bytes))


def _price(options: Sequence[Sequence[Option]], cap_bytes: int) -> float:
    """Return the lowest loss per byte at which the cheapest options fit, by bisection."""
    low, high = 0.0, 1e-30
    while total_bytes(options, [_cheapest(choices, high) for choices in options]) > cap_bytes and high < 1e30:
        high *= 4.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        fits = total_bytes(options, [_cheapest(choices, middle) for choices in options]) <= cap_bytes
        low, high = (low, middle) if fits else (middle, high)
    return high


def _search(options: Sequence[Sequence[Option]], cap_bytes: int, price: float, hull: list[int]) -> list[int]:
    """Extend partial choices matrix by matrix; drop what is dominated, too large, or bounded by the best known."""
    best = total_loss(options, hull)
    dual = [min(choice.loss + price * choice.bytes for choice in choices) for choices in options]
    least = [min(choice.bytes for choice in choices) for choices in options]
    rest_dual, rest_least = sum(dual), sum(least)
    states: list[tuple[int, float, tuple[int, ...]]] = [(0, 0.0, ())]
    for choices, own_dual, own_least in zip(options, dual, least, strict=True):
        rest_dual -= own_dual
        rest_least -= own_least
        extended = sorted(
            (size + choice.bytes, loss + choice.loss, (*chosen, i))
            for size, loss, chosen in states
            for i, choice in enumerate(choices)
        )
        states, lowest = [], float("inf")
        for size, loss, chosen in extended:
            bound = loss + rest_dual - price * (cap_bytes - size)
            if size + rest_least <= cap_bytes and loss < lowest and bound <= best * (1 + ROUNDING) + 1e-300:
                states.append((size, loss, chosen))
                lowest = loss
        if len(states) > MOST_STATES:
            return hull
    return list(min(states, key=lambda state: state[1])[2]) if states else hull
