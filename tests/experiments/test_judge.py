"""The judge's arithmetic against slow twins, its decisions as properties, and simulated nights with a known truth."""

import random
import re
from dataclasses import replace
from math import sqrt
from statistics import fmean, stdev

import numpy as np
import pytest
from scipy import stats
from support import ROOT

from data.errors import CaddieError
from dev.benchmarks import pvalues
from dev.benchmarks.judge import SEED_SD, night
from experiments.comparison import rotated
from experiments.judge import ENDS, RULES, Evidence, Noise, Rule, Step, may_have_lost, rule_named
from experiments.tiers import SORT_OUT
from preflight.frontier import read, verdicts
from preflight.significance import Sample, welch

CADDIE = RULES["caddie"]
NOISE = Noise.expected(0.001, degrees=30)
PVALUES = ROOT.parent / "shared" / "reference" / "pvalues.tsv"


def drawn(rng: random.Random, count: int, mean: float = 1.06, sd: float = 0.001) -> list[float]:
    return [rng.gauss(mean, sd) for _ in range(count)]


def test_welch_is_scipys_own():
    rng = random.Random(1)
    for _ in range(200):
        new, reference = drawn(rng, rng.randint(2, 9)), drawn(rng, rng.randint(2, 9), sd=0.003)
        ours = welch(new, reference)
        theirs = stats.ttest_ind(new, reference, equal_var=False, alternative="less")
        assert (ours.t, ours.df, ours.p_value) == pytest.approx((theirs.statistic, theirs.df, theirs.pvalue), rel=1e-9)
        exact = welch(new, reference[0])
        theirs = stats.ttest_1samp(new, reference[0], alternative="less")
        assert (exact.t, exact.df, exact.p_value) == pytest.approx(
            (theirs.statistic, theirs.df, theirs.pvalue), rel=1e-9
        )


def test_the_margin_is_inside_the_test():
    rng = random.Random(2)
    new, reference = drawn(rng, 3), drawn(rng, 5)
    moved = welch(new, [value - 0.002 for value in reference])
    assert welch(new, reference, margin=0.002).p_value == pytest.approx(moved.p_value)
    assert welch(new, reference, margin=0.002).p_value > welch(new, reference).p_value
    summary = Sample(fmean(reference), stdev(reference), len(reference))
    assert welch(new, summary).p_value == pytest.approx(welch(new, reference).p_value)


def test_what_cannot_be_tested_is_said():
    for new, reference in (([1.0], [1.0, 1.1]), ([1.0, 1.1], [1.0]), ([1.0, 1.0], [1.1, 1.1]), ([1.0, 1.0], 1.1)):
        with pytest.raises(CaddieError, match="got"):
            welch(new, reference)


@pytest.mark.parametrize(
    ("new", "reference", "margin", "expected"),
    [
        ("1.1150812 1.1143739 1.1147501", "1.1192299 1.1200203 1.1188888", 0.0, {"t": "-11.83", "df": "3.31"}),  # #1019
        ("1.0792835 1.0799668 1.0802479", "1.08079 1.08103 1.08118", 0.0, {"p_value": "0.0204"}),  # #1514
        ("1.0566202 1.0561095 1.0567934", "1.0574057 1.057301 1.0580708", 0.0, {"p_value": "0.01385"}),  # #2135
        ("1.0576426 1.0588621 1.0590397", Sample(1.060755, 0.000933, 6), 0.0, {"p_value": "0.00596"}),  # #1967
        ("2.0542 2.0537 2.0519", 2.0727, 0.005, {"p_value": "0.0012"}),  # #59, nats
        ("1.07887 1.07893 1.07866", 1.079064, 0.0, {"p_value": "0.048"}),  # #1716, which claimed 0.00136
        (
            "1.0574057 1.057301 1.0580708",
            "1.0582472 1.0584611 1.0589528",
            0.0,
            {"p_value": "0.020"},
        ),  # #2014: not 0.011
    ],
)
def test_worked_examples(new, reference, margin, expected):
    """Submissions of the challenge by the number of their pull request (rules.md section 8); runs everywhere."""
    seeds = reference if not isinstance(reference, str) else [float(text) for text in reference.split()]
    found = welch([float(text) for text in new.split()], seeds, margin)
    for name, text in expected.items():
        assert abs(getattr(found, name) - float(text)) <= pvalues.unit(text) / 2, name


@pytest.mark.skipif(not PVALUES.exists(), reason="the published p-values are beside the project, not in it")
def test_every_published_p_value():
    """t, df and p of each row as the file has them, and by name those whose published value no correct test gives."""
    found = list(pvalues.claims(PVALUES))
    assert len(found) == 20
    for claim in found:
        test, row = claim.test(), claim.row
        column = "welch_1sided" if row["welch_1sided"] else "one_sample_1sided"
        for name, value, text in (
            ("t", test.t, row["t"]),
            ("df", test.df, row["df"]),
            ("p_value", test.p_value, row[column]),
        ):
            assert value == pytest.approx(float(text), rel=1e-4, abs=claim.rounding(name, 0.0)), (claim.name, name)
    wrong = {claim.row["pr"] for claim in found if "no correct test" in claim.verdict()}
    assert wrong == {"2014", "1716", "2009", "1967 (4 samples, comment)"}
    assert {claim.verdict() for claim in found if claim.row["pr"] == "59"} == {
        "p_value reproduced with a margin of 0.005"
    }


def test_the_noise_floor_is_the_pooled_spread():
    rng = np.random.default_rng(3)
    batches = [rng.normal(0, 1, count) for count in (4, 3, 2, 5)]
    noise = Noise.expected(2.0, degrees=2)
    for batch in batches:
        noise = noise.with_replicates(list(batch))
    squares = 2 * 2.0**2 + 2 * sum(batch.var(ddof=0) * len(batch) for batch in batches)
    assert noise.degrees == 2 + 3 + 2 + 1 + 4
    assert noise.difference_sd == pytest.approx(sqrt(squares / noise.degrees))
    assert noise.with_replicates([0.3]) == noise  # one number says nothing of its spread


def test_p_values_are_uniform_when_nothing_is_true():
    """The floor is an estimate, and the test knows: 5 % of null differences have p < 0.05 with few replicates too."""
    rng = np.random.default_rng(4)
    count, hits = 4000, 0
    for _ in range(count):
        noise = Noise.expected(1.0, degrees=1e-9).with_replicates(list(rng.normal(0, 1, 4)))
        difference = rng.normal(0, 1, 2).mean() - rng.normal(0, 1, 2).mean()
        hits += noise.p_value(float(difference), pairs=2) < 0.05
    assert abs(hits - 0.05 * count) < 4 * sqrt(count * 0.05 * 0.95)


def played(
    rule: Rule,
    values: list[float],
    fresh: list[float],
    handicap: float = 0.0,
    seeds: int | None = None,
    tidier: bool = False,
) -> tuple[Step, int, int]:
    """The end that a rule comes to, and how many of the numbers it asked for."""
    most, evidence = min(rule.seeds, seeds or rule.seeds), Evidence()
    while True:
        step = rule.step(evidence, NOISE, handicap, len(evidence.search) < most, tidier)
        if step in ENDS:
            return step, len(evidence.search), len(evidence.fresh)
        search, again = len(evidence.search) + (step is Step.SEARCH), len(evidence.fresh) + (step is Step.FRESH)
        evidence = Evidence(values[:search], fresh[:again])


def test_the_gray_zone_earns_seeds_and_a_keep_is_provisional():
    low, gray, high = -0.004, -0.0005, 0.001
    assert played(CADDIE, [high] * 3, []) == (Step.DISCARDED, 1, 0)
    assert played(CADDIE, [gray] * 3, []) == (Step.DISCARDED, 3, 0)
    assert played(CADDIE, [gray, low, low], [low] * 2) == (Step.KEPT, 2, 2)
    assert played(CADDIE, [low] * 3, [low, low]) == (Step.KEPT, 1, 2)
    assert played(CADDIE, [low] * 3, [high, gray]) == (Step.REVERTED, 1, 2)
    assert played(CADDIE, [gray] * 3, [], seeds=2) == (Step.DISCARDED, 2, 0)
    assert played(RULES["confirm"], [low] * 3, [low] * 3) == (Step.KEPT, 3, 3)
    assert played(RULES["greedy"], [-1e-9], []) == (Step.KEPT, 1, 0)
    assert played(RULES["greedy"], [1e-9], []) == (Step.DISCARDED, 1, 0)


def test_better_numbers_never_end_worse():
    rng = random.Random(5)
    rank = {Step.DISCARDED: 0, Step.REVERTED: 1, Step.KEPT: 2}
    for _ in range(300):
        values, fresh = drawn(rng, 3, 0.0), drawn(rng, 2, 0.0)
        shift = rng.uniform(0.0, 0.002)
        end, _, _ = played(CADDIE, values, fresh)
        better, _, _ = played(CADDIE, [value - shift for value in values], [value - shift for value in fresh])
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
    assert played(CADDIE, small, small)[0] is Step.KEPT
    assert played(CADDIE, small, small, CADDIE.handicap(150, NOISE))[0] is Step.DISCARDED
    assert played(CADDIE, none, none, CADDIE.handicap(-20, NOISE))[0] is Step.KEPT
    assert played(CADDIE, none, none, CADDIE.handicap(-1, NOISE))[0] is Step.DISCARDED
    assert played(CADDIE, [2 * detectable] * 3, [0.0] * 2, CADDIE.handicap(-50, NOISE))[0] is Step.DISCARDED


def test_what_alters_no_loss_and_removes_a_line_is_kept():
    """Whatever earlier removals have spent; not where a knob went too (`tidier`), however large the allowance."""
    same = ([0.0] * 3, [0.0] * 2)
    for spent in (0.0, 9.0):
        handicap = CADDIE.handicap(-1, NOISE, spent)
        assert played(CADDIE, *same, handicap, tidier=True) == (Step.KEPT, 1, 2)
    assert played(CADDIE, *same, CADDIE.handicap(-300, NOISE))[0] is Step.DISCARDED
    assert played(CADDIE, *same)[0] is Step.DISCARDED
    assert played(RULES["greedy"], *same, tidier=True)[0] is Step.DISCARDED


def test_equals_pass_a_cheap_look():
    """A proxy's few steps may not show what a change does later."""
    assert played(SORT_OUT, [0.0], [])[0] is Step.KEPT
    assert played(SORT_OUT, [NOISE.difference_sd], [])[0] is Step.KEPT
    assert played(SORT_OUT, [2 * NOISE.difference_sd], [])[0] is Step.DISCARDED


def test_removals_do_not_add_up_to_a_loss():
    """200 removals that each lose a part of a detectable effect: what has been lost counts against the next."""

    def lost(bounded: bool, part: float = 0.25, seed: int = 6) -> float:
        rng, spent, true = random.Random(seed), 0.0, 0.0
        effect = part * CADDIE.detectable(NOISE)
        for _ in range(200):
            fresh = drawn(rng, 2, effect)
            handicap = CADDIE.handicap(-30, NOISE, spent if bounded else 0.0)
            if played(CADDIE, drawn(rng, 3, effect), fresh, handicap)[0] is Step.KEPT:
                spent, true = spent + may_have_lost(fresh, NOISE), true + effect
        return true / CADDIE.detectable(NOISE)

    assert lost(bounded=False) > 20
    assert lost(bounded=True) < 4
    for part in (0.25, 0.5):
        assert 0.5 < fmean(lost(bounded=True, part=part, seed=seed) for seed in range(40)) < 1.5  # about one


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
    assert rule_named("greedy") is RULES["greedy"]
    assert rule_named("keep_p=0.01,fresh=3") == replace(CADDIE, keep_p=0.01, fresh=3)
    for text in ("kepp_p=0.1", "fresh", "fresh=2.5", "keep_p=low", ""):
        with pytest.raises(CaddieError, match="--rule"):
            rule_named(text)
    for text in ("seeds=0", "least=0", "fresh=-1", "keep_p=0", "drop_p=1", "confirm_p=nan", "lines_per_effect=0"):
        with pytest.raises(CaddieError, match="expected seeds, least from 1"):
            rule_named(text)


def test_every_trial_starts_with_another_seed():
    seeds = [11, 22, 33]
    assert [rotated(seeds, number)[0] for number in range(1, 5)] == [22, 33, 11, 22]
    assert all(sorted(rotated(seeds, number)) == seeds for number in range(9))


def nights(effects, count=300, shared=0.0):
    return [night(CADDIE, np.array(effects), np.random.default_rng(seed), shared) for seed in range(count)]


def test_a_planted_gain_is_kept_and_a_planted_loss_never():
    """Three detectable effects either way, in simulated nights; test_generations.py plants real ones."""
    effect = 3 * CADDIE.detectable(Noise.expected(SEED_SD * sqrt(2.0), degrees=8))
    kept = [one.kept for one in nights([-effect])]
    assert np.mean(kept) >= 0.9
    assert sum(one.kept for one in nights([effect], count=2000)) == 0


def test_a_null_night_reports_less_than_greedy_and_keeps_little():
    null = [night(CADDIE, np.zeros(60), np.random.default_rng(seed), 0.0) for seed in range(60)]
    greedy = [night(RULES["greedy"], np.zeros(60), np.random.default_rng(seed), 0.0) for seed in range(60)]
    assert sum(one.kept for one in null) < 0.02 * 60 * 60
    assert np.mean([one.reported for one in greedy]) > 3 * np.mean([one.reported for one in null])


def test_the_frontier_and_what_is_missing():
    record = read(ROOT / "records" / "frontier.json", "track_10min_16mb")
    assert fmean(record.val_bpb) == pytest.approx(1.06107587, abs=1e-8)  # as published
    assert 0.005 * record.bpb_per_nat == pytest.approx(0.00228, abs=1e-5)  # rules.md section 8, CaseOps
    readme, later = verdicts([1.0566202, 1.0561095, 1.0567934], record)  # #2135
    assert later.missing == []
    assert readme.test.p_value == pytest.approx(
        welch([1.0566202, 1.0561095, 1.0567934], record.val_bpb, 0.005 * record.bpb_per_nat).p_value
    )
    readme, later = verdicts([1.0600, 1.0605], record)
    assert readme.missing[0] == "1 more seeds (has 2)"
    assert "no number of seeds" in readme.missing[1]  # its mean is not 0.005 nats lower
    (one_seed, _) = verdicts([1.0], record)
    assert one_seed.test is None
    assert one_seed.missing
    single = read(ROOT / "records" / "frontier.json", "track_non_record_16mb")
    assert verdicts([1.10, 1.101, 1.102], single)[0].missing == []
    with pytest.raises(CaddieError, match="expected one of track_10min"):
        read(ROOT / "records" / "frontier.json", "track_5min")


def test_what_is_missing_would_do():
    """A mean that fell by what the verdict says, or as many seeds as it says, meets the rule."""
    record = read(ROOT / "records" / "frontier.json", "track_10min_16mb")
    values = [1.0500, 1.0560, 1.0530]
    readme, _ = verdicts(values, record)
    found = re.search(r"lower by ([\d.]+) bpb at this spread, or (\d+) seeds", readme.missing[0])
    assert found is not None, readme.missing
    assert verdicts([value - float(found[1]) - 1e-5 for value in values], record)[0].missing == []
    assert verdicts([value - float(found[1]) + 2e-5 for value in values], record)[0].missing != []
    wanted = Sample(fmean(values), stdev(values), int(found[2]))
    assert welch(wanted, record.val_bpb, readme.margin_bpb).p_value < 0.01
    assert welch(replace(wanted, count=int(found[2]) - 1), record.val_bpb, readme.margin_bpb).p_value >= 0.01
