"""What the LLM would be asked, for a person to read: `generate_next.py --dry-run` and `--explain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.calls import Calls, Outcome
from experiments.ledger import Ledger
from experiments.prices import PRICES_DATE, Price, Tokens, price_of
from proposers import render
from proposers.context import Context
from proposers.conversation import OUTPUT_TOKENS
from proposers.digest import digest

if TYPE_CHECKING:
    from proposers.anthropic_api import Anthropic

ANSWER_TOKENS = 5_000  # a proposal with its thinking, where no call has told better


@dataclass(frozen=True)
class Cost:
    """Dollars of one call."""

    first: float
    later: float
    most: float


def explain(proposer: Anthropic, context: Context, whole: bool) -> str:
    choice, write = proposer.plan(context)
    question = write(1.0)
    ledger = Ledger(context.ledger)
    try:
        done = [call for call in Calls(ledger).rows() if call.state is Outcome.DONE and call.prompt_tokens]
        spent = Calls(ledger).spent_dollars()
    finally:
        ledger.close()
    ratio = render.CHARACTERS_PER_TOKEN
    answer = ANSWER_TOKENS
    if done:
        ratio = sum(call.prompt_characters for call in done) / sum(call.prompt_tokens for call in done)
        answer = round(sum(call.output_tokens for call in done) / len(done))
    prefix = [render.tokens(len(part), ratio) for part in question.prefix]
    asked = render.tokens(len(question.question), ratio)
    life, price = proposer.life(context), price_of(proposer.model)
    return render.render(
        "explain.md.j2",
        kind=choice.name,
        why=choice.why,
        parent=context.parent,
        incumbent=context.incumbent,
        model=proposer.model,
        effort=proposer.effort,
        life=life,
        minutes=proposer.minutes_between(context),
        prefix_tokens=prefix,
        question_tokens=asked,
        characters_per_token=ratio,
        measured=f"as {len(done)} calls were billed" if done else "assumed; no call was billed yet",
        cost=_cost(price, sum(prefix), asked, answer, life, OUTPUT_TOKENS[proposer.effort]) if price else None,
        answer_tokens=answer,
        prices_date=PRICES_DATE,
        spent=spent,
        budget=proposer.budget_usd,
        whole=whole,
        prefix=question.prefix,
        question=question.question,
        digest=render.render("digest.md.j2", **digest(context)),
    )


def _cost(price: Price, prefix: int, asked: int, answer: int, life: str, most: int) -> Cost:
    written = {"1h": Tokens(asked, write_1h=prefix, output=answer), "5m": Tokens(asked, write_5m=prefix, output=answer)}
    first = written.get(life, Tokens(asked + prefix, output=answer))
    later = Tokens(asked, read=prefix, output=answer) if life else first
    return Cost(price.dollars(first), price.dollars(later), price.at_most(prefix + asked, most, life))
