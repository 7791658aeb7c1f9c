"""Tests of Welch's test and of verdicts against the frontier: scipy, published p-values, and worked examples."""

import random
import re
from dataclasses import replace
from statistics import fmean, stdev

import pytest
from helpers.tiny_profile import ROOT
from scipy import stats

from common.errors import CaddieError
from dev.benchmarks import pvalues
from preflight.records.frontier import read, verdicts
from preflight.records.significance import Sample, welch

PVALUES = ROOT.parent / "shared" / "reference" / "pvalues.tsv"


def normal_values(rng: random.Random, count: int, mean: float = 1.06, sd: float = 0.001) -> list[float]:
    return [rng.gauss(mean, sd) for _ in range(count)]


def test_welch_agrees_with_scipy():
    rng = random.Random(1)
    for _ in range(200):
        new, reference = normal_values(rng, rng.randint(2, 9)), normal_values(rng, rng.randint(2, 9), sd=0.003)
        ours = welch(new, reference)
        expected = stats.ttest_ind(new, reference, equal_var=False, alternative="less")
        assert (ours.t, ours.df, ours.p_value) == pytest.approx(
            (expected.statistic, expected.df, expected.pvalue), rel=1e-9
        )
        exact = welch(new, reference[0])
        expected = stats.ttest_1samp(new, reference[0], alternative="less")
        assert (exact.t, exact.df, exact.p_value) == pytest.approx(
            (expected.statistic, expected.df, expected.pvalue), rel=1e-9
        )


def test_a_margin_shifts_the_reference():
    rng = random.Random(2)
    new, reference = normal_values(rng, 3), normal_values(rng, 5)
    shifted = welch(new, [value - 0.002 for value in reference])
    assert welch(new, reference, margin=0.002).p_value == pytest.approx(shifted.p_value)
    assert welch(new, reference, margin=0.002).p_value > welch(new, reference).p_value
    summary = Sample(fmean(reference), stdev(reference), len(reference))
    assert welch(new, summary).p_value == pytest.approx(welch(new, reference).p_value)


def test_samples_that_cannot_be_tested_are_refused():
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
    """Submissions of the challenge by the number of their pull request (rules.md section 8)."""
    seeds = reference if not isinstance(reference, str) else [float(text) for text in reference.split()]
    result = welch([float(text) for text in new.split()], seeds, margin)
    for name, text in expected.items():
        assert abs(getattr(result, name) - float(text)) <= pvalues.unit(text) / 2, name


@pytest.mark.skipif(not PVALUES.exists(), reason="the published p-values are not part of the repository")
def test_every_published_p_value():
    """t, df and p of each row match the file; the published values that no correct test gives are listed by name."""
    claims = list(pvalues.claims(PVALUES))
    assert len(claims) == 20
    for claim in claims:
        test, row = claim.test(), claim.row
        column = "welch_1sided" if row["welch_1sided"] else "one_sample_1sided"
        for name, value, text in (
            ("t", test.t, row["t"]),
            ("df", test.df, row["df"]),
            ("p_value", test.p_value, row[column]),
        ):
            assert value == pytest.approx(float(text), rel=1e-4, abs=claim.rounding(name, 0.0)), (claim.name, name)
    wrong = {claim.row["pr"] for claim in claims if "no correct test" in claim.verdict()}
    assert wrong == {"2014", "1716", "2009", "1967 (4 samples, comment)"}
    assert {claim.verdict() for claim in claims if claim.row["pr"] == "59"} == {
        "p_value reproduced with a margin of 0.005"
    }


def test_verdicts_against_the_frontier_state_what_is_missing():
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


def test_the_missing_seeds_or_margin_that_a_verdict_names_suffice():
    """A mean lower by as much as the verdict says, or as many seeds as it says, meets the rule."""
    record = read(ROOT / "records" / "frontier.json", "track_10min_16mb")
    values = [1.0500, 1.0560, 1.0530]
    readme, _ = verdicts(values, record)
    match = re.search(r"lower by ([\d.]+) bpb at this spread, or (\d+) seeds", readme.missing[0])
    assert match is not None, readme.missing
    assert verdicts([value - float(match[1]) - 1e-5 for value in values], record)[0].missing == []
    assert verdicts([value - float(match[1]) + 2e-5 for value in values], record)[0].missing != []
    sample = Sample(fmean(values), stdev(values), int(match[2]))
    assert welch(sample, record.val_bpb, readme.margin_bpb).p_value < 0.01
    assert welch(replace(sample, count=int(match[2]) - 1), record.val_bpb, readme.margin_bpb).p_value >= 0.01
