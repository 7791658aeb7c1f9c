"""Tests of the acceptance rule: its decisions as properties, its handicap, and its thresholds."""

import random
import re
from dataclasses import replace
from statistics import fmean

import pytest
from helpers.tiny_profile import ROOT

from common.errors import CaddieError
from experiments.judge.noise import Noise, loss_bound
from experiments.judge.rule import FINAL_STEPS, RULES, Evidence, Rule, Step, parse_rule
from experiments.tiers import SCREENING

CADDIE = RULES["caddie"]
NOISE = Noise.expected(0.001, degrees=30)


def normal_values(rng: random.Random, count: int, mean: float = 1.06, sd: float = 0.001) -> list[float]:
    return [rng.gauss(mean, sd) for _ in range(count)]


def play(
    rule: Rule,
    values: list[float],
    fresh: list[float],
    handicap: float = 0.0,
    seeds: int | None = None,
    simplifies: bool = False,
) -> tuple[Step, int, int]:
    """Return the rule's decision, and how many search and fresh values it asked for."""
    most, evidence = min(rule.seeds, seeds or rule.seeds), Evidence()
    while True:
        step = rule.step(evidence, NOISE, handicap, len(evidence.search) < most, simplifies)
        if step in FINAL_STEPS:
            return step, len(evidence.search), len(evidence.fresh)
        search, again = len(evidence.search) + (step is Step.SEARCH), len(evidence.fresh) + (step is Step.FRESH)
        evidence = Evidence(values[:search], fresh[:again])


def test_the_gray_zone_gets_more_seeds_and_a_keep_is_provisional():
    low, gray, high = -0.004, -0.0005, 0.001
    assert play(CADDIE, [high] * 3, []) == (Step.DISCARDED, 1, 0)
    assert play(CADDIE, [gray] * 3, []) == (Step.DISCARDED, 3, 0)
    assert play(CADDIE, [gray, low, low], [low] * 2) == (Step.KEPT, 2, 2)
    assert play(CADDIE, [low] * 3, [low, low]) == (Step.KEPT, 1, 2)
    assert play(CADDIE, [low] * 3, [high, gray]) == (Step.REVERTED, 1, 2)
    assert play(CADDIE, [gray] * 3, [], seeds=2) == (Step.DISCARDED, 2, 0)
    everything = Rule(seeds=3, least=3, keep_p=0.05, fresh=3, confirm_p=0.5)
    assert play(everything, [low] * 3, [low] * 3) == (Step.KEPT, 3, 3)
    assert play(RULES["greedy"], [-1e-9], []) == (Step.KEPT, 1, 0)
    assert play(RULES["greedy"], [1e-9], []) == (Step.DISCARDED, 1, 0)


def test_better_numbers_never_end_worse():
    rng = random.Random(5)
    rank = {Step.DISCARDED: 0, Step.REVERTED: 1, Step.KEPT: 2}
    for _ in range(300):
        values, fresh = normal_values(rng, 3, 0.0), normal_values(rng, 2, 0.0)
        shift = rng.uniform(0.0, 0.002)
        end, _, _ = play(CADDIE, values, fresh)
        better, _, _ = play(CADDIE, [value - shift for value in values], [value - shift for value in fresh])
        assert rank[better] >= rank[end]


def test_lines_cost_and_removals_need_only_be_non_inferior():
    detectable = CADDIE.detectable(NOISE)
    assert CADDIE.handicap(0, NOISE) == 0.0
    assert CADDIE.handicap(20, NOISE) == pytest.approx(detectable / 10)
    assert CADDIE.handicap(-1, NOISE) == pytest.approx(-detectable / 20)
    assert CADDIE.handicap(-20, NOISE) == CADDIE.handicap(-300, NOISE) == -detectable
    assert CADDIE.handicap(-20, NOISE, spent=0.4 * detectable) == pytest.approx(-0.6 * detectable)
    assert CADDIE.handicap(-20, NOISE, spent=2 * detectable) == 0.0
    small, none = [-0.0016] * 3, [1e-5, -1e-5, 1e-5]
    assert play(CADDIE, small, small)[0] is Step.KEPT
    assert play(CADDIE, small, small, CADDIE.handicap(150, NOISE))[0] is Step.DISCARDED
    assert play(CADDIE, none, none, CADDIE.handicap(-20, NOISE))[0] is Step.KEPT
    assert play(CADDIE, none, none, CADDIE.handicap(-1, NOISE))[0] is Step.DISCARDED
    assert play(CADDIE, [2 * detectable] * 3, [0.0] * 2, CADDIE.handicap(-50, NOISE))[0] is Step.DISCARDED


def test_a_removal_that_changes_no_loss_is_kept():
    """This does not depend on what earlier removals have spent; without `simplifies` no allowance is large enough."""
    same = ([0.0] * 3, [0.0] * 2)
    for spent in (0.0, 9.0):
        handicap = CADDIE.handicap(-1, NOISE, spent)
        assert play(CADDIE, *same, handicap, simplifies=True) == (Step.KEPT, 1, 2)
    assert play(CADDIE, *same, CADDIE.handicap(-300, NOISE))[0] is Step.DISCARDED
    assert play(CADDIE, *same)[0] is Step.DISCARDED
    assert play(RULES["greedy"], *same, simplifies=True)[0] is Step.DISCARDED


def test_equal_trees_pass_the_screening_rule():
    """A proxy's few steps may not show what a change does later."""
    assert play(SCREENING, [0.0], [])[0] is Step.KEPT
    assert play(SCREENING, [NOISE.difference_sd], [])[0] is Step.KEPT
    assert play(SCREENING, [2 * NOISE.difference_sd], [])[0] is Step.DISCARDED


@pytest.mark.slow
def test_removals_do_not_add_up_to_a_loss():
    """Of 200 removals that each lose a part of a detectable effect, earlier losses reduce the next one's allowance."""

    def total_loss(bounded: bool, part: float = 0.25, seed: int = 6) -> float:
        rng, spent, total = random.Random(seed), 0.0, 0.0
        effect = part * CADDIE.detectable(NOISE)
        for _ in range(200):
            fresh = normal_values(rng, 2, effect)
            handicap = CADDIE.handicap(-30, NOISE, spent if bounded else 0.0)
            if play(CADDIE, normal_values(rng, 3, effect), fresh, handicap)[0] is Step.KEPT:
                spent, total = spent + loss_bound(fresh, NOISE), total + effect
        return total / CADDIE.detectable(NOISE)

    assert total_loss(bounded=False) > 20
    assert total_loss(bounded=True) < 4
    for part in (0.25, 0.5):
        mean = fmean(total_loss(bounded=True, part=part, seed=seed) for seed in range(40))
        assert 0.5 < mean < 1.5  # about one detectable effect


def test_the_brief_states_the_rule_that_is_enforced():
    brief = " ".join((ROOT / "program.md").read_text().split())
    stated = re.search(
        r"better \(p < ([\d.]+)\) is measured again on (\w+) fresh seeds .*? there too \(p < ([\d.]+)\)", brief
    )
    assert stated is not None
    assert (float(stated[1]), stated[2], float(stated[3])) == (
        CADDIE.keep_p,
        "two",
        CADDIE.confirm_p,
    )
    assert "on up to three (two after the first" in brief
    assert (CADDIE.seeds, CADDIE.fresh) == (3, 2)
    assert f"{CADDIE.lines_per_effect:.0f} net added lines of code must earn one detectable effect" in brief
    assert f"a change that removes {CADDIE.lines_per_margin:.0f} or more, net, may be up to one detectable" in brief


def test_rules_by_name_and_by_threshold():
    assert parse_rule("greedy") is RULES["greedy"]
    assert parse_rule("keep_p=0.01,fresh=3") == replace(CADDIE, keep_p=0.01, fresh=3)
    for text in ("kepp_p=0.1", "fresh", "fresh=2.5", "keep_p=low", ""):
        with pytest.raises(CaddieError, match="--rule"):
            parse_rule(text)
    for text in ("seeds=0", "least=0", "fresh=-1", "keep_p=0", "drop_p=1", "confirm_p=nan", "lines_per_effect=0"):
        with pytest.raises(CaddieError, match="expected seeds, least from 1"):
            parse_rule(text)
