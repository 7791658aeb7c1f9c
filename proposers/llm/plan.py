"""The plan of a question to the LLM: everything that is decided before the first request."""

from collections.abc import Callable
from dataclasses import dataclass

from proposers.allocation import Allocation
from proposers.llm.prompt import Prompt


@dataclass(frozen=True)
class Plan:
    """One question: its class of idea with the reason, the settings of its requests, and its prompt."""

    choice: Allocation
    model: str
    effort: str
    cache_ttl: str  # empty: no cache
    minutes_between: float  # expected distance to the next question
    budget_usd: float | None
    write_prompt: Callable[[float], Prompt]  # takes the share of the usual room that the prompt may fill
