"""What the Messages API costs: list prices by model with their date, and which cache life is the cheaper one."""

import re
from dataclasses import dataclass
from math import exp

PRICES_DATE = "2026-11-21"  # as listed on platform.claude.com/docs/en/about-claude/pricing and the models' own pages
MILLION = 1_000_000
LIFE_MINUTES = {"5m": 5.0, "1h": 60.0}  # of a cache entry; every read starts it anew
REWRITTEN = 0.05  # of the prefix, on average per call: a keep changes base/ from the changed file on


@dataclass(frozen=True)
class Tokens:
    """What one call was billed for; reading and writing the cache stand beside fresh input, not within it."""

    fresh: int = 0
    write_5m: int = 0
    write_1h: int = 0
    read: int = 0
    output: int = 0  # thinking included
    thinking: int = 0

    @property
    def prompt(self) -> int:
        return self.fresh + self.write_5m + self.write_1h + self.read


@dataclass(frozen=True)
class Price:
    """Dollars per million tokens. Writing the cache costs 1.25 (5 minutes) or 2 (1 hour) times the input."""

    input: float
    output: float
    read: float

    @property
    def write_5m(self) -> float:
        return 1.25 * self.input

    @property
    def write_1h(self) -> float:
        return 2.0 * self.input

    def write(self, life: str) -> float:
        return self.write_1h if life == "1h" else self.write_5m

    def dollars(self, tokens: Tokens) -> float:
        return (
            tokens.fresh * self.input
            + tokens.write_5m * self.write_5m
            + tokens.write_1h * self.write_1h
            + tokens.read * self.read
            + tokens.output * self.output
        ) / MILLION

    def at_most(self, prompt_tokens: int, output_tokens: int, life: str) -> float:
        """Dollars of a call that finds nothing in the cache and uses every token it may."""
        return (prompt_tokens * self.write(life) + output_tokens * self.output) / MILLION


PRICES = {  # of models that think adaptively, as every request asks
    "claude-fable-5-1": Price(10.0, 50.0, 0.25),
    "claude-fable-5": Price(10.0, 50.0, 1.0),
    "claude-mythos-5-1": Price(10.0, 50.0, 0.25),
    "claude-mythos-5": Price(10.0, 50.0, 1.0),
    "claude-opus-5-5": Price(4.0, 20.0, 0.20),
    "claude-opus-5": Price(5.0, 25.0, 0.50),
    "claude-opus-4-8": Price(5.0, 25.0, 0.50),
    "claude-opus-4-7": Price(5.0, 25.0, 0.50),
    "claude-opus-4-6": Price(5.0, 25.0, 0.50),
    "claude-sonnet-5-5": Price(2.0, 10.0, 0.10),
    "claude-sonnet-5": Price(2.0, 10.0, 0.20),
}


def price_of(model: str) -> Price | None:
    """The list price of a model, by its name without a date; None where the table has none."""
    return PRICES.get(re.sub(r"-20\d{6}$", "", model))


def cheapest_life(price: Price, minutes_between: float) -> str:
    """The cache life under which a prefix costs least when calls are so far apart; empty: caching does not pay."""
    return min(("5m", "1h", ""), key=lambda life: prefix_price(price, life, minutes_between))


def prefix_price(price: Price, life: str, minutes_between: float) -> float:
    """Expected dollars of a million prefix tokens in one call: read while the entry lives, else written again.

    The distance varies as the length of trials does (one to seven measurements): taken as exponential about its mean.
    """
    if not life:
        return price.input
    met = 1 - exp(-LIFE_MINUTES[life] / minutes_between)
    return met * (price.read + REWRITTEN * price.write(life)) + (1 - met) * price.write(life)
