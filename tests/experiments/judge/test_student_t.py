"""Student's t distribution against SciPy's."""

import pytest
from scipy import stats

from experiments.judge import student_t

DEGREES = (0.5, 1, 2, 3.7, 6, 30, 1_000, 1e4)
VALUES = (-1e6, -50.0, -8.0, -2.5, -1.0, -1e-3, -1e-9, 0.0, 1e-9, 0.3, 1.0, 4.0, 50.0, 1e6)


@pytest.mark.parametrize("degrees", DEGREES)
def test_cdf(degrees):
    for t in VALUES:
        assert student_t.cdf(t, degrees) == pytest.approx(stats.t.cdf(t, degrees), rel=1e-9, abs=1e-300)
    assert student_t.cdf(float("inf"), degrees) == 1
    assert student_t.cdf(float("-inf"), degrees) == 0


@pytest.mark.parametrize("degrees", DEGREES)
def test_quantile(degrees):
    for chance in (1e-3, 0.05, 0.2, 0.5, 0.8, 0.9, 0.975, 0.999):
        assert student_t.quantile(chance, degrees) == pytest.approx(stats.t.ppf(chance, degrees), rel=1e-9, abs=1e-9)
