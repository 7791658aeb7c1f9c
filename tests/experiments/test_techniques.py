"""Tests of `toggles`: the techniques that base/ declares, smoke runs, paired measurements that resume."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.tiny_profile import TINY
from pydantic import ValidationError
from scipy import stats

from common.errors import CaddieError
from experiments.judge.noise import paired
from experiments.techniques import Sample, markdown_table, paired_rows, read_samples, run_parallel
from preflight.candidate.describe import Description, with_knobs


def toggles(root: Path, *options: str):
    command = [sys.executable, "-m", "experiments", "toggles", "--root", str(root), "--profile", "tiny", *options]
    return subprocess.run(command, capture_output=True, text=True)


def declare(root: Path, techniques: dict) -> None:
    config = root / "base" / "config.py"
    config.write_text(config.read_text() + f"TECHNIQUES = {techniques!r}\n")


@pytest.mark.parametrize("differences", [[0.1, 0.3], [-0.02, -0.01, -0.03, 0.0, -0.02]])
def test_pairs_are_judged_as_by_a_paired_t_test(differences):
    result = paired(differences)
    test = stats.ttest_1samp(differences, 0.0)
    assert result.mean / result.standard_error == pytest.approx(test.statistic)
    below = paired([value - result.mean + 0.99 * result.detectable for value in differences])
    above = paired([value - result.mean - 1.01 * result.detectable for value in differences])
    assert not below.resolved
    assert above.resolved
    assert not paired([0.0, 0.0]).resolved
    shifted = [value - result.mean + result.detectable for value in differences]
    assert stats.ttest_1samp(shifted, 0.0).pvalue < 0.05  # a resolved difference is also significant


def test_rows_pair_by_seed_and_mark_unresolved_differences():
    samples = [Sample("preset", seed, 2.0 + seed / 10, 10.0, 100) for seed in (1, 2, 3)]
    samples += [Sample("better", seed, 1.5 + seed / 10 + seed / 1000, 15.0, 120) for seed in (1, 2, 3)]
    samples += [Sample("noisy", seed, 2.0 + seed / 10 + (-1) ** seed / 10, 10.0, 100) for seed in (1, 2, 3)]
    samples += [Sample("once", 1, 1.0, 10.0, 100), Sample("better", 9, 0.0, 1.0, 120)]  # no partner
    rows = {row.arm: row for row in paired_rows(samples)}
    assert set(rows) == {"better", "noisy"}
    assert rows["better"].difference.mean == pytest.approx(-0.498)
    assert rows["better"].time_ratio == pytest.approx(1.5)
    assert rows["better"].more_parameters == 20
    table = markdown_table(paired_rows(samples))
    assert "| better | -0.4980 | 0.0006 |" in table
    assert "| noisy | not resolved (" in table
    assert "| better | identical |" in markdown_table(paired_rows([replace(sample, val_bpb=2.0) for sample in samples]))


def test_only_knobs_reach_the_program():
    assert with_knobs(TINY.target, {"passes": 2.0}, {"passes"}).environment["PASSES"] == "2"
    with pytest.raises(CaddieError, match="expected names of knobs"):
        with_knobs(TINY.target, {"ld_preload": "x"}, {"passes"})
    for name in (
        "path",
        "ld_preload",
        "pythonpath",
        "home",
    ):  # base/ may have a knob of that name; it must not reach the sandbox
        with pytest.raises(CaddieError, match="expected names of knobs"):
            with_knobs(TINY.target, {name: "x"}, {name})
    assert with_knobs(TINY.target, {"passes": 1e6}, {"passes"}).environment["PASSES"] == "1000000"
    assert with_knobs(TINY.target, {"passes": 1234567.25}, {"passes"}).environment["PASSES"] == "1234567.25"
    with pytest.raises(CaddieError, match="fixed by the tier"):
        with_knobs(TINY.target, {"batch_tokens": "1"}, {"batch_tokens"})


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        ({"techniques": {"../../gone": {}}}, "techniques"),
        ({"techniques": {"on": {"passes": "1\n2"}}}, "techniques.on.passes"),
        ({"techniques": {"on": [1]}}, "techniques.on"),
        ({"techniques": 7}, "techniques"),
        ({"presets": ["tiny", "a/b_tiny"]}, "presets.1"),
        ({"knobs": [{"value": 1}]}, "knobs.0.name"),
        ({"parameters": {"total": "many"}}, "parameters.total"),
    ],
)
def test_the_description_of_a_program_is_validated(harm, named):
    description = {"knobs": [{"name": "passes"}], "presets": ["tiny"], "techniques": {}} | harm
    with pytest.raises(ValidationError) as raised:
        Description.model_validate_json(json.dumps(description))
    assert ".".join(map(str, raised.value.errors()[0]["loc"])).startswith(named)


def test_a_truncated_line_is_no_sample(tmp_path):
    sample = Sample("preset", 1, 2.0, 10.0, 100)
    whole = json.dumps(vars(sample)) + "\n"
    (tmp_path / "samples").write_text(whole + whole[:20])
    assert read_samples(tmp_path / "samples") == [sample]


def test_closing_early_starts_no_further_call():
    started = []

    def work(number):
        started.append(number)
        return sum(range(10**6))

    results = run_parallel(work, [(number,) for number in range(1000)])
    next(results)
    results.close()
    assert len(started) < 500


@pytest.mark.slow
@pytest.mark.trial
def test_every_technique_is_measured_once_and_the_table_grows(repo):
    first = toggles(repo, "--seeds", "2", "--steps", "2", "--out", str(repo / "table.md"))
    assert first.returncode == 0, first.stdout
    (store,) = (repo / "trials" / "toggles").glob("*.jsonl")
    samples = [Sample(**json.loads(line)) for line in store.read_text().splitlines()]
    assert {(sample.arm, sample.seed) for sample in samples} == {
        (arm, seed) for arm in ("preset", "smoother", "twice") for seed in (1, 2)
    }
    assert {sample.parameters for sample in samples if sample.arm == "twice"} == {2 * 1024**2}
    assert "| twice |" in (repo / "table.md").read_text()
    again = toggles(repo, "--seeds", "3", "--steps", "2")
    assert again.returncode == 0, again.stdout
    assert len(store.read_text().splitlines()) == 9
    assert store.read_text().startswith("".join(json.dumps(vars(sample)) + "\n" for sample in samples))
    assert "seed 3" in again.stdout
    assert "seed 2" not in again.stdout


@pytest.mark.trial
def test_a_single_technique_can_be_selected(repo):
    assert "all 1 passed" in toggles(repo, "--validate", "--only", "twice").stdout
    done = toggles(repo, "--validate", "--only", "thrice")
    assert done.returncode == 2
    assert "got ['thrice'], expected techniques" in done.stdout.replace("\n", " ")


@pytest.mark.trial
def test_validate_names_the_technique_that_fails(repo):
    assert "all 3 passed" in toggles(repo, "--validate").stdout
    declare(repo, {"twice": {"passes": 2}, "broken": {"passes": "x"}})
    done = toggles(repo, "--validate")
    assert done.returncode == 2
    assert "1 of 3 did not pass: broken" in done.stdout.replace("\n", " ")
    assert "passed   twice" in done.stdout


@pytest.mark.trial
def test_an_invalid_table_of_techniques_is_one_line(repo):
    declare(repo, {"evil": {"nothing": "x"}})
    done = toggles(repo, "--validate")
    assert done.returncode == 2
    assert "expected names of knobs" in done.stdout
    declare(repo, {"tiny": {"passes": 2}})
    done = toggles(repo, "--validate")
    assert done.returncode == 2
    assert "names of presets" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
