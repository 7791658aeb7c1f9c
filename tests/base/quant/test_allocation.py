"""Bit allocation against exhaustive search, and its limits."""

import itertools
import random

import pytest

from base.quant.allocation import Option, allocate, total_bytes, total_loss


def drawn(rng, matrices, choices):
    """Options whose loss falls as their bytes rise, not always convexly."""
    found = []
    for _ in range(matrices):
        scale, size = rng.lognormvariate(0, 1.5), rng.randint(50, 2000)
        found.append(
            [
                Option(scale * 4.0 ** -(i + rng.uniform(-0.8, 0.8)), size * (i + 2) + rng.randint(0, 40))
                for i in range(choices)
            ]
        )
    return found


def exhaustive(options, cap):
    fitting = (
        chosen
        for chosen in itertools.product(*(range(len(choices)) for choices in options))
        if total_bytes(options, chosen) <= cap
    )
    return min((total_loss(options, chosen) for chosen in fitting), default=None)


@pytest.mark.parametrize("seed", range(60))
def test_it_equals_exhaustive_search(seed):
    rng = random.Random(seed)
    options = drawn(rng, rng.randint(1, 6), rng.randint(1, 5))
    low = sum(min(choice.bytes for choice in choices) for choices in options)
    high = sum(max(choice.bytes for choice in choices) for choices in options)
    cap = rng.randint(low, high + 10)
    found = allocate(options, cap)
    assert total_bytes(options, found) <= cap
    assert total_loss(options, found) == pytest.approx(exhaustive(options, cap), rel=1e-9)


def test_a_cap_that_nothing_fits_gives_the_smallest():
    options = drawn(random.Random(1), 4, 4)
    assert allocate(options, 0) == [0, 0, 0, 0]


def test_seventy_matrices_at_six_widths_come_out_within_a_hair_of_the_bound():
    options = drawn(random.Random(2), 70, 6)
    low = sum(min(choice.bytes for choice in choices) for choices in options)
    high = sum(max(choice.bytes for choice in choices) for choices in options)
    cap = (low + high) // 2
    found = allocate(options, cap)
    assert total_bytes(options, found) <= cap
    # Any multiplier bounds every allocation from below
    prices = [10.0**exponent for exponent in range(-9, 0)]
    bound = max(
        sum(min(choice.loss + price * choice.bytes for choice in choices) for choices in options) - price * cap
        for price in prices
    )
    assert total_loss(options, found) >= bound
    swaps = [[*found[:i], other, *found[i + 1 :]] for i, choices in enumerate(options) for other in range(len(choices))]
    better = [swap for swap in swaps if total_loss(options, swap) < total_loss(options, found)]
    assert all(total_bytes(options, swap) > cap for swap in better)
