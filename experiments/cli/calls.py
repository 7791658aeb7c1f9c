"""The command `calls`: what each kind of model call cost, and how much of the prompts came from the cache."""

from collections.abc import Iterable
from pathlib import Path

from rich.table import Table
from rich.text import Text

from common.state import State
from common.text import one_line
from experiments.cli.console import screen
from experiments.cli.options import Name, Root
from experiments.costs.llm_calls import Call, Calls, Outcome, cache_shares
from experiments.costs.prices import PRICES_DATE
from experiments.ledger.rows import Row
from experiments.proposal.parts import part_of
from experiments.run.layout import open_ledger

LAST_FAILURES = 8  # failed calls that are shown in full


def calls(
    name: Name = "demo",
    root: Root = Path(),
) -> None:
    """Show a run's model calls: costs, cache, failures. Example: python -m experiments calls --run night"""
    ledger = open_ledger(root, name)
    records = Calls(ledger).rows()
    console = screen()
    if not records:
        console.print(f"run {name} has called no model yet; ./loop.sh --run {name} --proposer anthropic does")
        return
    console.print(cost_table(records))
    console.print(cache_table(records))
    console.print(Text(summary_sentence(records, ledger.rows()), "bold"))
    failed = [call for call in records if call.state is not Outcome.DONE]
    for call in failed[-LAST_FAILURES:]:
        line = f"call {call.number}, {call.purpose} for trial {call.trial:04d}: {call.state}, {call.detail}"
        console.print(Text(one_line(line, 300), "yellow"), soft_wrap=True)


def cost_table(calls: list[Call]) -> Table:
    """Return tokens by kind, seconds and dollars, by purpose and outcome."""
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
    unknown = any(call.committed_dollars is None for call in calls)
    yield "?" if unknown else f"{sum(call.committed_dollars or 0.0 for call in calls):.3f}"


def cache_table(calls: list[Call]) -> Table:
    """Return the cache's share of prompts by the time since the previous call: does the cache's TTL fit the machine?"""
    table = Table(box=None, pad_edge=False, title="cache", title_justify="left", title_style="bold")
    table.add_column("since the previous call")
    for name in ("calls", "prompt tokens", "from the cache", "dollars"):
        table.add_column(name, justify="right", no_wrap=True)
    for share in cache_shares(calls):
        cached = f"{share.read_tokens / share.prompt_tokens:.0%}" if share.prompt_tokens else "-"
        table.add_row(share.name, f"{share.calls:,}", f"{share.prompt_tokens:,}", cached, f"{share.dollars:.3f}")
    return table


def summary_sentence(calls: list[Call], rows: list[Row]) -> str:
    """Return what a proposal and a keep have cost."""
    spent = sum(call.committed_dollars or 0.0 for call in calls)
    proposals = len({call.trial for call in calls if call.state is Outcome.DONE}) or 1
    paid = [part_of(call.proposal, "edits") for call in calls if call.proposal]
    kept = sum(row.state is State.KEPT and part_of(row.proposal, "edits") in paid for row in rows)
    models = ", ".join(sorted({one_line(call.model, 60) for call in calls}))
    text = f"{len(calls)} calls for {proposals} proposals of {models}: ${spent:.2f}, ${spent / proposals:.3f} each"
    text += f", ${spent / kept:.2f} a keep ({kept})" if kept else ", nothing kept yet"
    return f"{text}; list prices of {PRICES_DATE}"
