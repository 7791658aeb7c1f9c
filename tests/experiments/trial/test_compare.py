"""Tests of whole trials: fresh seeds before a keep, ignored seeds, the proxy, removals, and planted effects."""

import dataclasses
import shutil
from statistics import fmean

import numpy as np
import pytest
from helpers.tiny_profile import MORE_TEXT, TINY, git, proposal
from helpers.trials import WORSE, search_seeds
from scipy.optimize import brentq

from common.state import State
from data.byte_table import bits_per_byte
from experiments.analysis.pairing import new_seeds, reference_seeds
from experiments.run.run import open_run
from experiments.runner.job import Job
from experiments.tiers import PROFILES, SCREENING
from experiments.trial.baseline import measure_baseline
from experiments.trial.compare import rotate
from experiments.trial.settle import mark_lost
from experiments.trial.trial import run_trial
from preflight.source import bundle
from proposers.context import gather


def test_a_keep_is_measured_again_on_fresh_seeds(run_with_keep):
    run, kept = run_with_keep, run_with_keep.ledger.incumbent()
    rows = run.ledger.measurement_rows(kept.number)
    kept_bpb = {row.measured.seed: row.measured.val_bpb for row in rows if row.fresh_for == kept.number}
    baseline_rows = [row for row in run.ledger.measurement_rows(0) if row.fresh_for == kept.number]
    baseline_bpb = {row.measured.seed: row.measured.val_bpb for row in baseline_rows}
    assert len(kept_bpb) == TINY.rule.fresh
    assert kept_bpb.keys() == baseline_bpb.keys()
    assert not kept_bpb.keys() & {*search_seeds(run, 0), *search_seeds(run, kept.number)}
    assert kept.val_bpb == pytest.approx(fmean(kept_bpb.values()))  # the fresh value is the recorded one
    assert kept.delta_bpb == pytest.approx(fmean(kept_bpb[seed] - baseline_bpb[seed] for seed in kept_bpb))
    # A scorer that counts its probes learns nothing about the purpose of a measurement.
    assert {row.measured.honesty.places for row in rows} == {TINY.audit_positions}


def test_no_proposer_learns_a_seed(run_with_keep, budget):
    """Neither the commit, the row, nor the proposer's context contains a seed, whatever a program prints."""
    run, kept = run_with_keep, run_with_keep.ledger.incumbent()
    decimal = (
        "base/model.py",
        "    draw = ",
        '    if knobs["iterations"] > 3:\n        raise ValueError(knobs["seed"])\n    draw = ',
    )
    row = run_trial(run, proposal(run, decimal), budget)
    assert row.state is State.CRASH
    assert "ValueError: #" in row.detail
    hexadecimal = (*decimal[:2], decimal[2].replace('knobs["seed"])', 'hex(knobs["seed"]))'))
    assert "ValueError: #" in run_trial(run, proposal(run, hexadecimal), budget).detail
    seeds = {row.measured.seed for number in (0, kept.number) for row in run.ledger.measurement_rows(number)}
    number = run.begin_trial("the disk is full", "data", kept.commit_id, hypothesis="", proposal="{}")
    error = OSError(28, "No space left on device", f"trials/night/full_{min(seeds)}")
    mark_lost(run, number, State.INFRA, str(error))
    assert run.ledger.row(number).detail.startswith("[Errno 28] No space left")
    messages = run.workspace._git("log", "-2", "--format=%B", row.commit_id)
    visible = messages + repr(gather(run.workspace.root, "night"))
    assert not [seed for seed in seeds if str(seed) in visible or f"{seed:x}" in visible]


def test_smoke_runs_detect_an_ignored_seed(run, budget):
    row = run_trial(run, proposal(run, ("base/model.py", 'knobs["seed"]', "42")), budget)
    assert row.state is State.SEED_IGNORED, row.detail


@pytest.mark.slow
def test_two_seeds_detect_a_seed_that_is_ignored_after_the_smoke_run(run, budget):
    """The seed matters in the smoke run's few steps, and not beyond them."""
    hidden = ("base/model.py", 'knobs["seed"]', '42 if knobs["iterations"] > 3 else knobs["seed"]')
    row = run_trial(run, proposal(run, hidden, MORE_TEXT), budget)
    assert row.state is State.SEED_IGNORED, row.detail
    assert "the same artifact twice" in row.detail


@pytest.mark.slow
def test_the_proxy_discards_candidates_but_lets_controls_go_on(repo, budget, monkeypatch):
    short = dataclasses.replace(TINY.target, environment={**TINY.target.environment, "ITERATIONS": "2"})
    proxy = dataclasses.replace(TINY, name="proxy", rule=SCREENING, target=short)
    monkeypatch.setitem(PROFILES, "tiny", dataclasses.replace(PROFILES["tiny"], proxy=proxy))
    run = open_run(repo, "night", "tiny", lambda *_: None)

    def tiers(number):
        return [stored.tier for stored in run.ledger.measurement_rows(number) if stored.fresh_for is None]

    measure_baseline(run)
    assert tiers(0) == ["proxy"] * 3 + ["full"] * 3
    row = run_trial(run, proposal(run, WORSE), budget)
    assert (row.state, row.val_bpb, tiers(row.number)) == (State.DISCARDED, None, ["proxy"])
    assert row.detail.startswith("proxy: ")
    row = run_trial(run, proposal(run, MORE_TEXT), budget)  # the proxy's steps are fixed: no difference there
    assert row.state is State.KEPT, row.detail
    assert tiers(row.number) == ["proxy", "full", "repeat"]
    first_seeds = set(reference_seeds(run.ledger, row, proxy))
    while len(run.ledger.rows()) < 10:
        number = run.begin_trial("filler", "none", row.parent, hypothesis="", proposal="{}")
        run.ledger.settle(number, State.NO_OP)
    row = run_trial(run, proposal(run, WORSE, title="a control"), budget)
    assert (row.number, row.state, tiers(10)) == (10, State.DISCARDED, ["proxy", "full"])
    refreshed = set(reference_seeds(run.ledger, run.ledger.incumbent(), proxy))  # no longer the number that won
    assert len(refreshed) == TINY.rule.seeds
    assert not refreshed & first_seeds
    assert set(search_seeds(run, 10)) <= refreshed | reference_seeds(run.ledger, run.ledger.incumbent(), TINY).keys()
    run_trial(run, proposal(run, WORSE, title="another"), budget)
    assert set(reference_seeds(run.ledger, run.ledger.incumbent(), proxy)) == refreshed
    run.close()


@pytest.mark.slow
def test_removed_lines_are_kept_unless_a_knob_goes_with_them(run, budget):
    """No loss changes in either trial; removing lines alone is kept, removing lines with a knob is not."""
    unused = ("        self.last = None\n        self.seen = 0\n", "        self.last = None\n")
    lines = [("base/scorer.py", *edit) for edit in (unused, ("        self.seen += len(tokens)\n", ""))]
    knob = ("base/config.py", '"batch_tokens": 4096, ', "")
    order = ('len(stream) // knobs["batch_tokens"]', "len(stream) // 4096")
    start = ('% len(order)] * knobs["batch_tokens"]', "% len(order)] * 4096")
    batch = ('start + knobs["batch_tokens"] + 1', "start + 4096 + 1")
    uses = [("base/model.py", *edit) for edit in (order, start, batch)]
    row = run_trial(run, proposal(run, *lines, knob, *uses), budget)
    assert (row.state, row.net_code_lines, row.delta_bpb) == (State.DISCARDED, -2, 0.0), row.detail
    assert "no loss changed on 1 seeds" in row.detail
    assert "a knob was removed with them" in row.detail
    row = run_trial(run, proposal(run, *lines), budget)
    assert (row.state, row.net_code_lines, row.delta_bpb) == (State.KEPT, -1, 0.0), row.detail


def test_every_trial_starts_with_a_different_seed():
    seeds = [11, 22, 33]
    assert [rotate(seeds, number)[0] for number in range(1, 5)] == [22, 33, 11, 22]
    assert all(sorted(rotate(seeds, number)) == seeds for number in range(9))


SHARP = "np.log(table / table.sum(axis=1, keepdims=True))"
ORDER = 'default_rng(knobs["seed"])'


def flattened(share: float) -> str:
    """Return the scorer's distribution mixed with the uniform one: worse by much the same on every seed."""
    return f"np.log({1 - share!r} * table / table.sum(axis=1, keepdims=True) + {share!r} / VOCAB)"


def share_for(run, effect_bpb: float) -> float:
    """Return the share of the uniform distribution that makes the baseline's own weights worse by `effect_bpb`."""
    (row, *_) = run.ledger.measurement_rows(0)
    weights = np.fromfile(run.measurement_folder(0, row) / "weights.bin", dtype=np.uint8)
    counts = weights.astype(np.float32).reshape(1024, 1024)
    unigram = counts.sum(axis=0) + 0.1
    table = counts + 1024 * 0.5 * unigram / unigram.sum() * 0.1
    tokens = run.corpus.tokens("dev").astype(np.int64)
    likely = (table / table.sum(axis=1, keepdims=True))[tokens[:-1], tokens[1:]].astype(np.float64)
    text_bytes = int(run.corpus.byte_table().target_bytes(tokens.astype(np.uint16)).sum())

    def worse(share: float) -> float:
        mixed = -np.log((1 - share) * likely + share / 1024).sum() + np.log(likely).sum()
        return bits_per_byte(float(mixed), text_bytes) - effect_bpb

    return float(brentq(worse, 1e-6, 0.9999))


@pytest.mark.slow
def test_ten_runs_with_a_planted_gain_and_a_planted_loss(run, blank_repo, tmp_path, budget):
    """Each is three detectable effects by the noise floor of ten replicates, on batches that no other tree has seen."""
    measured = run.ledger.measurements(0)
    values, program = [each.val_bpb for each in measured], run.trial_folder(0) / bundle.NAME
    for seed in new_seeds(7):  # on the data of the others, as pairs are
        folder, data_seed = tmp_path / str(seed), measured[0].data_seed
        job = Job(program, run.tier, run.corpus, seed, budget, folder, run.level, data_seed=data_seed)
        values.append(run.runner.measure(job).val_bpb)
    effect = 3 * TINY.rule.detectable(TINY.expected_noise.with_replicates(values))
    start, worse = share_for(run, effect), share_for(run, 2 * effect)
    kept, losses = 0, 0
    for repetition in range(10):
        root = shutil.copytree(blank_repo, tmp_path / f"run{repetition}", symlinks=True)
        model = root / "base" / "model.py"
        model.write_text(model.read_text().replace(SHARP, flattened(start)))
        git(root, "commit", "--quiet", "--all", "--message=handicapped")
        opened = open_run(root, "night", "tiny", lambda *_: None)
        measure_baseline(opened)
        for share, expected in ((worse, State.DISCARDED), (0.0, State.KEPT)):
            sharper = ("base/model.py", flattened(start), flattened(share))
            batches = ("base/model.py", ORDER, f'default_rng([knobs["seed"], {repetition}])')
            row = run_trial(opened, proposal(opened, sharper, batches, title=f"{expected} {repetition}"), budget)
            print(repetition, expected, row.state, row.delta_bpb, effect, row.detail)
            kept += expected is State.KEPT and row.state is State.KEPT
            losses += expected is State.DISCARDED and row.state is State.KEPT
        opened.close()
    assert losses == 0
    assert kept >= 9
