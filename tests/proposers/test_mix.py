"""The mix proposer: turns, the cache TTL, refusals and merges."""

import json
from contextlib import closing

from helpers.proposers.rows import near_misses, row
from helpers.servers.messages import Reply

from common.state import State
from experiments.costs.llm_calls import Calls
from experiments.ledger.store import Ledger
from experiments.proposal.options import ProposerOptions
from proposers import make_proposer
from proposers.llm.anthropic import Anthropic
from proposers.mix import BETWEEN_MERGES, Mix, arm_of
from proposers.search.tpe import Search


def test_search_and_model_alternate(make_context):
    mix = make_proposer("mix", ProposerOptions())
    assert isinstance(mix, Mix)
    assert mix.structure.numbers_elsewhere
    rows = [row(0, State.BASELINE, val_bpb=1.94)]
    arms = []
    for number in range(1, 20):
        name = mix.choose(make_context(rows)).name
        arms.append(name)
        by = {"by": "search"} if name == "search" else {"by": "claude-opus-5-5"}
        rows.append(row(number, proposal=json.dumps(by)))
        assert arm_of(rows[-1]) == name
    assert 8 <= arms.count("search") <= 11
    assert isinstance(mix.arms["search"], Search)
    assert BETWEEN_MERGES < 10


def test_cache_ttl_fits_the_distance_between_questions(make_context):
    mix, alone = Mix(ProposerOptions()).structure, Anthropic(ProposerOptions())
    assert mix.plan(make_context()).minutes_between == 2 * alone.plan(make_context()).minutes_between
    assert alone.plan(make_context(profile="h100")).cache_ttl == "1h"


def test_refusals_of_the_model_do_not_end_a_mix(api, model, make_context):
    model.answers = [Reply(stop_reason="refusal", category="frontier_llm")]
    context = make_context([row(0, State.BASELINE, val_bpb=1.94)])
    mix = Mix(ProposerOptions())
    assert json.loads(mix.propose(context))["by"] == "search"
    mix.structure.close()
    with closing(Ledger(context.ledger)) as ledger:
        assert len(Calls(ledger).refused_classes()) == 2
    again = Mix(ProposerOptions())
    again.propose(context)
    again.structure.close()
    asked = [
        request["messages"][0]["content"].partition("of class **")[2].partition("*")[0] for request in api.requests
    ]
    assert len(set(asked)) == 4  # two and two: refused classes are not asked again


def test_mix_merges_when_a_pair_is_available(make_context):
    rows = near_misses() + [row(number, proposal='{"by": "search"}') for number in range(4, 4 + BETWEEN_MERGES)]
    assert json.loads(Mix(ProposerOptions()).propose(make_context(rows)))["by"] == "merge"
