"""Student's t distribution, in plain Python: `status` needs one quantile, and importing SciPy for it takes longer than
all the rest of the command. Regularized incomplete beta function by its continued fraction (Abramowitz & Stegun 26.5.8,
evaluated as in Lentz 1976); tests hold both functions against SciPy.
"""

from math import exp, isinf, lgamma, log, log1p

TINY = 1e-300  # instead of zero in a denominator
TERMS = 10_000


def cdf(t: float, degrees: float) -> float:
    """Return the probability of a value below t, for any positive number of degrees of freedom."""
    if isinf(t):
        return float(t > 0)
    square = t * t
    tail = 0.5 * _incomplete_beta(0.5 * degrees, 0.5, degrees / (degrees + square), square / (degrees + square))
    return tail if t < 0 else 1.0 - tail


def quantile(chance: float, degrees: float) -> float:
    """Return the t below which a share `chance` of the distribution lies; `chance` strictly between 0 and 1."""
    if chance <= 0.5:
        return -quantile(1.0 - chance, degrees) if chance < 0.5 else 0.0
    low, high = 0.0, 1.0
    while cdf(high, degrees) < chance:
        low, high = high, 2.0 * high
    while (middle := 0.5 * (low + high)) not in (low, high):
        low, high = (middle, high) if cdf(middle, degrees) < chance else (low, middle)
    return high


def _incomplete_beta(a: float, b: float, x: float, y: float) -> float:
    """I_x(a, b), with y = 1 - x given exactly."""
    if x <= 0.0 or y <= 0.0:
        return float(x > y)
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _incomplete_beta(b, a, y, x)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * (log(y) if y < 0.5 else log1p(-x))) / a
    c, d = 1.0, 1.0 / _nonzero(1.0 - (a + b) * x / (a + 1.0))
    fraction = d
    for m in range(1, TERMS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0)),
        ):
            d = 1.0 / _nonzero(1.0 + term * d)
            c = _nonzero(1.0 + term / c)
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return front * fraction


def _nonzero(value: float) -> float:
    return value if abs(value) > TINY else TINY
