"""A run remembers its options: what is not typed again stays, what is typed replaces it."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.runs import ledger_file, start_run

from common.errors import CaddieError
from common.profiles import ProfileTable
from experiments.ledger.store import Ledger
from experiments.proposal.options import ProposerOptions
from experiments.run.machine import record
from experiments.run.request import RunRequest
from experiments.tiers import Profile


def remember(request):
    with closing(Ledger(ledger_file(request.root))) as ledger:
        request.remember(ledger)


def test_options_of_every_kind_come_back(repo):
    start_run(repo)
    proposer = ProposerOptions(
        "mix", script=Path("ideas"), joint=True, show=[Path("notes")], passed=["HOME"], model="m", budget_usd=2.5
    )
    names = {"name", "script", "joint", "show", "passed", "model", "budget_usd", "trials", "level", "profile"}
    typed = RunRequest(20, 8.0, "night", "tiny", root=repo, level="landlock", proposer=proposer, given=frozenset(names))
    remember(typed)
    again = RunRequest(run="night", root=repo).with_remembered()
    assert again.hours == 12.0  # it was not typed
    assert (again.trials, again.level, again.profile) == (20, "landlock", "tiny")
    expected = replace(proposer, script=Path("ideas").resolve(), show=[Path("notes").resolve()])
    assert again.proposer == expected
    other = RunRequest(
        run="night", root=repo, proposer=ProposerOptions("search"), given=frozenset({"name"})
    ).with_remembered()
    assert (other.proposer.name, other.proposer.model, other.trials) == ("search", "m", 20)
    remember(other)
    assert RunRequest(run="night", root=repo).with_remembered().proposer.name == "search"


def test_a_run_from_before_options_were_recorded_keeps_its_profile(repo):
    start_run(repo)
    assert RunRequest(run="night", root=repo).with_remembered().profile == "tiny"


def test_a_broken_option_says_which(repo):
    start_run(repo)
    with closing(Ledger(ledger_file(repo))) as ledger:
        ledger.set_fact("options", json.dumps({"trials": "many"}))
    with pytest.raises(CaddieError, match="has 'many' for --trials; give the option again"):
        RunRequest(run="night", root=repo).with_remembered()


def test_a_run_keeps_its_corpus_and_training_time_however_often_they_are_typed(repo, tiny_corpus):
    """loop.sh types the same options at every restart of the controller; other ones are refused."""
    table = ProfileTable("tiny2", steps=40, corpus="tiny", asked_minutes=2.0)
    with closing(Ledger(ledger_file(repo))) as ledger:
        record(ledger, "tiny2", Profile.of(table))
    typed = {"run": "night", "root": repo}
    for corpus in ("tiny", "shards/tiny"):
        again = RunRequest(**typed, corpus=corpus, minutes=2.0, given=frozenset({"corpus", "minutes"}))
        assert again.with_remembered().machine.tier.steps == 40
    with pytest.raises(CaddieError, match="training time cannot change; choose another --run"):
        RunRequest(**typed, minutes=3.0).with_remembered()
    with pytest.raises(CaddieError, match="has begun on corpus tiny; choose another --run"):
        RunRequest(**typed, corpus="shards/other").with_remembered()
