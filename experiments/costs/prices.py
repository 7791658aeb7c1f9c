"""Prices of the Messages API: list prices by model with their date, and the choice of the cheaper cache lifetime."""

import re
from dataclasses import dataclass
from math import exp

PRICES_DATE = "2026-11-21"  # as listed on platform.claude.com/docs/en/about-claude/pricing and the models' own pages
MILLION = 1_000_000
TTL_MINUTES = {"5m": 5.0, "1h": 60.0}  # of a cache entry; every read restarts it
REWRITTEN_SHARE = 0.05  # of the prefix, on average per call: a keep changes base/ from the changed file on


@dataclass(frozen=True)
class Tokens:
    """Tokens billed for one call; cache reads and writes are counted separately from fresh input, not within it."""

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

    def write(self, cache_ttl: str) -> float:
        return self.write_1h if cache_ttl == "1h" else self.write_5m

    def dollars(self, tokens: Tokens) -> float:
        return (
            tokens.fresh * self.input
            + tokens.write_5m * self.write_5m
            + tokens.write_1h * self.write_1h
            + tokens.read * self.read
            + tokens.output * self.output
        ) / MILLION

    def worst_case_dollars(self, prompt_tokens: int, output_tokens: int, cache_ttl: str) -> float:
        """Return the price of a call that finds nothing in the cache and uses every token it may."""
        return (prompt_tokens * self.write(cache_ttl) + output_tokens * self.output) / MILLION


PRICES = {  # of models with adaptive thinking, which every request asks for
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
    """Return the list price of a model, by its name without a date; None if the table has no such model."""
    return PRICES.get(re.sub(r"-20\d{6}$", "", model))


def cheapest_ttl(price: Price, minutes_between: float) -> str:
    """Return the cache lifetime that makes a prefix cheapest when calls are so far apart; empty: do not cache."""
    return min(("5m", "1h", ""), key=lambda cache_ttl: prefix_price(price, cache_ttl, minutes_between))


def prefix_price(price: Price, cache_ttl: str, minutes_between: float) -> float:
    """Return the expected price of a million prefix tokens in one call: read from a live entry, else written again.

    The time between calls varies as the length of trials does (one to seven measurements): it is taken as
    exponentially distributed with the given mean.
    """
    if not cache_ttl:
        return price.input
    hit_rate = 1 - exp(-TTL_MINUTES[cache_ttl] / minutes_between)
    hit = price.read + REWRITTEN_SHARE * price.write(cache_ttl)
    return hit_rate * hit + (1 - hit_rate) * price.write(cache_ttl)
