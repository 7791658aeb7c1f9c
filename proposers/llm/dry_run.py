"""The output of `generate_next.py --dry-run` and `--explain`: the planned question, its tokens and its cost."""

from contextlib import closing
from dataclasses import dataclass
from statistics import fmean

from experiments.costs.llm_calls import Calls, Outcome
from experiments.costs.prices import PRICES_DATE, Price, Tokens, price_of
from experiments.ledger.store import Ledger
from proposers.context import Context
from proposers.llm import prompt
from proposers.llm.chat import OUTPUT_TOKENS
from proposers.llm.history import digest
from proposers.llm.plan import Plan

ANSWER_TOKENS = 5_000  # assumed for a proposal with its thinking until a call was measured


@dataclass(frozen=True)
class Usage:
    """Token counts of the run's calls so far, or assumptions where there is none."""

    characters_per_token: float
    answer_tokens: int
    source: str
    spent_dollars: float

    @classmethod
    def measure(cls, context: Context) -> "Usage":
        with closing(Ledger(context.ledger)) as ledger:
            calls = Calls(ledger)
            done = [call for call in calls.rows() if call.state is Outcome.DONE and call.prompt_tokens]
            spent = calls.spent_dollars()
        if not done:
            return cls(prompt.CHARACTERS_PER_TOKEN, ANSWER_TOKENS, "assumed; no call was billed yet", spent)
        return cls(
            sum(call.prompt_characters for call in done) / sum(call.prompt_tokens for call in done),
            round(fmean(call.output_tokens for call in done)),
            f"measured on {len(done)} billed calls",
            spent,
        )


@dataclass(frozen=True)
class Cost:
    """Dollars of one call."""

    empty_cache: float
    cached: float
    worst_case: float

    @classmethod
    def estimate(cls, plan: Plan, price: Price, prefix: int, question: int, answer: int) -> "Cost":
        written = {
            "1h": Tokens(question, write_1h=prefix, output=answer),
            "5m": Tokens(question, write_5m=prefix, output=answer),
        }
        first = written.get(plan.cache_ttl, Tokens(question + prefix, output=answer))
        later = Tokens(question, read=prefix, output=answer) if plan.cache_ttl else first
        most = price.worst_case_dollars(prefix + question, OUTPUT_TOKENS[plan.effort], plan.cache_ttl)
        return cls(price.dollars(first), price.dollars(later), most)


def explain(plan: Plan, context: Context, full: bool) -> str:
    """Return the class, the settings and the cost of a planned question, with the prompt (`full`) or the digest."""
    written, usage, price = plan.write_prompt(1.0), Usage.measure(context), price_of(plan.model)
    prefix = [prompt.tokens(len(part), usage.characters_per_token) for part in written.prefix]
    question = prompt.tokens(len(written.question), usage.characters_per_token)
    return prompt.render(
        "explain.md.j2",
        plan=plan,
        context=context,
        prefix_tokens=prefix,
        question_tokens=question,
        usage=usage,
        cost=Cost.estimate(plan, price, sum(prefix), question, usage.answer_tokens) if price else None,
        prices_date=PRICES_DATE,
        full=full,
        prompt=written,
        digest=prompt.render("digest.md.j2", **digest(context)),
    )
