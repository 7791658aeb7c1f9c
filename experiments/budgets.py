"""What a trial used of each of its budgets: as numbers beside their limits, and in words."""

import json
from collections.abc import Iterable, Mapping, Sequence

from experiments.ledger import Row

FREE = "train_setup_cpu_seconds"  # no limit: what goes beyond it counts as training
UNITS = {"_share": "of the budget", "_cpu_seconds": "CPU s", "_wall_seconds": "s", "_seconds": "s", "_bytes": "bytes"}


def closest(spent: Iterable[Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    """Of every budget the (used, limit) that came closest to the limit."""
    found: dict[str, list[float]] = {}
    for one in spent:
        for name, (used, limit) in one.items():
            if name not in found or used * found[name][1] > found[name][0] * limit:
                found[name] = [used, limit]
    return found


def told(row: Row) -> list[str]:
    """Each budget in words, such as `train 30.2 of 36.1 CPU s (84 %)`; the longest used part first."""
    by_share = sorted(_read(row).items(), key=lambda item: -item[1][0] / (item[1][1] or 1.0))
    return [f"{_words(name, used, limit)} ({used / (limit or 1.0):.0%})" for name, (used, limit) in by_share]


def met(row: Row) -> str:
    """The limit that ended a trial, such as `score 19.3 of 19.2 CPU s`; empty where none did or it has no number."""
    over = [_words(name, *both) for name, both in _read(row).items() if both[0] > both[1] and name != FREE]
    return over[-1] if over and row.state.limit else ""


def _read(row: Row) -> dict[str, tuple[float, float]]:
    return {name: (used, limit) for name, (used, limit) in json.loads(row.spent or "{}").items()}


def _words(name: str, used: float, limit: float) -> str:
    suffix = next((suffix for suffix in UNITS if name.endswith(suffix)), "")
    form = {"_bytes": ",.0f", "_share": ".0%"}.get(suffix, ".1f")
    return (
        f"{name.removesuffix(suffix).replace('_', ' ')} {used:{form}} of {limit:{form}} {UNITS.get(suffix, '')}".strip()
    )
