"""Tests of the forecast of an artifact's size."""

import random

import pytest

from preflight.candidate.size import EXPECTED_RATIO, Untrained, forecast

UNTRAINED = Untrained(20_000, 140_000, "6 bits, mix")


def test_only_a_model_that_cannot_fit_is_refused():
    certain = forecast(UNTRAINED, {}, 200_000)
    assert (certain.fits, certain.findings()) == ("yes", [])
    perhaps = forecast(UNTRAINED, {}, 20_000 + int(EXPECTED_RATIO * 140_000))
    assert (perhaps.fits, perhaps.findings()) == ("perhaps", [])  # `pack` decides
    assert "may not fit" in str(perhaps)
    (finding,) = forecast(UNTRAINED, {}, 120_000).findings()
    assert finding.rule == "oversize"
    assert finding.spent["artifact_bytes"][0] > 120_000


@pytest.mark.parametrize("count", [1, 3, 30])
def test_the_interval_moves_to_what_was_measured_and_narrows(count):
    ratios = [0.8 + 0.001 * (i % 3) for i in range(count)]
    first, learnt = forecast(UNTRAINED, {}, 1), forecast(UNTRAINED, {UNTRAINED.kind: ratios}, 1)
    middle = (learnt.low_bytes + learnt.high_bytes) / 2
    before = (first.low_bytes + first.high_bytes) / 2
    assert abs(middle - (20_000 + 140_000 * sum(ratios) / count)) < 2
    assert middle < before
    if count == 30:
        assert learnt.high_bytes - learnt.low_bytes < first.high_bytes - first.low_bytes
    assert forecast(UNTRAINED, {"8 bits, brotli": ratios}, 1) == first  # another kind teaches nothing


def test_nineteen_of_twenty_fall_inside():
    rng, inside, total = random.Random(0), 0, 400
    for _ in range(total):
        mean, spread = rng.gauss(0.97, 0.01), 0.004
        ratios = [rng.gauss(mean, spread) for _ in range(6)]
        true = 20_000 + 140_000 * rng.gauss(mean, spread)
        found = forecast(UNTRAINED, {UNTRAINED.kind: ratios}, 1)
        inside += found.low_bytes <= true <= found.high_bytes
    assert inside >= 0.93 * total
