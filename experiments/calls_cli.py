"""`python -m experiments calls`: what each kind of request cost, and how much of the prompts came from the cache."""

from collections.abc import Iterable
from pathlib import Path

from rich.table import Table
from rich.text import Text

from data.state import State
from experiments import view
from experiments.calls import Call, Calls, Outcome, cache_shares
from experiments.ledger import Row
from experiments.prices import PRICES_DATE
from experiments.proposal import part_of
from experiments.runs import Name, Root, open_ledger
from preflight.text import one_line

LAST = 8  # calls that did not end well, in full


def command(
    name: Name = "demo",
    root: Root = Path(),
) -> None:
    """The model's calls of a run: costs, cache, failures. Example: python -m experiments calls --run night"""
    ledger = open_ledger(root, name)
    calls = Calls(ledger).rows()
    console = view.screen()
    if not calls:
        console.print(f"run {name} has asked no model yet; ./loop.sh --run {name} --proposer anthropic does")
        return
    console.print(costs(calls))
    console.print(caches(calls))
    console.print(Text(sentence(calls, ledger.rows()), "bold"))
    for call in [call for call in calls if call.state is not Outcome.DONE][-LAST:]:
        line = f"call {call.number}, {call.purpose} for trial {call.trial:04d}: {call.state}, {call.detail}"
        console.print(Text(one_line(line, 300), "yellow"), soft_wrap=True)


def costs(calls: list[Call]) -> Table:
    """By purpose and end: tokens by kind, dollars, seconds."""
    table = Table(box=None, pad_edge=False, title="cost", title_justify="left", title_style="bold")
    for name in ("call", "ended"):
        table.add_column(name)
    for name in ("calls", "fresh", "written", "read", "output", "thinking", "seconds", "dollars"):
        table.add_column(name, justify="right", no_wrap=True)
    groups: dict[tuple[str, str], list[Call]] = {}
    for call in calls:
        groups.setdefault((call.purpose, str(call.state)), []).append(call)
    for (purpose, state), members in [*sorted(groups.items()), (("all", ""), calls)]:
        table.add_row(purpose, state, *_numbers(members))
    return table


def _numbers(calls: list[Call]) -> Iterable[str]:
    yield f"{len(calls):,}"
    for kind in ("fresh", "written", "read", "output", "thinking"):
        yield f"{sum(getattr(call, f'{kind}_tokens') for call in calls):,}"
    yield f"{sum(call.seconds or 0.0 for call in calls):,.1f}"
    unknown = any(call.booked_dollars is None for call in calls)
    yield "?" if unknown else f"{sum(call.booked_dollars or 0.0 for call in calls):.3f}"


def caches(calls: list[Call]) -> Table:
    """By the distance to the call before: does the cache's life fit this machine?"""
    table = Table(box=None, pad_edge=False, title="cache", title_justify="left", title_style="bold")
    table.add_column("since the call before")
    for name in ("calls", "prompt tokens", "from the cache", "dollars"):
        table.add_column(name, justify="right", no_wrap=True)
    for share in cache_shares(calls):
        part = f"{share.read_tokens / share.prompt_tokens:.0%}" if share.prompt_tokens else "-"
        table.add_row(share.name, f"{share.calls:,}", f"{share.prompt_tokens:,}", part, f"{share.dollars:.3f}")
    return table


def sentence(calls: list[Call], rows: list[Row]) -> str:
    """What a proposal and a keep have cost."""
    spent = sum(call.booked_dollars or 0.0 for call in calls)
    proposals = len({call.trial for call in calls if call.state is Outcome.DONE}) or 1
    paid = [part_of(call.proposal, "edits") for call in calls if call.proposal]
    kept = sum(row.state is State.KEPT and part_of(row.proposal, "edits") in paid for row in rows)
    models = ", ".join(sorted({one_line(call.model, 60) for call in calls}))
    told = f"{len(calls)} calls for {proposals} proposals of {models}: ${spent:.2f}, ${spent / proposals:.3f} each"
    told += f", ${spent / kept:.2f} a keep ({kept})" if kept else ", nothing kept yet"
    return f"{told}; list prices of {PRICES_DATE}"
