"""Tests of the size check."""

from preflight.candidate.size import check


def test_only_a_model_that_cannot_fit_is_refused():
    assert check(20_000, 140_000, 150_000) == []  # training may still shrink it a little: `pack` decides
    (finding,) = check(60_000, 140_000, 150_000)
    assert finding.rule == "oversize"
