"""Real trials through the judge: generations of seeds, fresh ones before a keep, proxies, planted nights, rejudging."""

import dataclasses
import re
import shutil
import subprocess
import sys
from statistics import fmean

import numpy as np
import pytest
from scipy.optimize import brentq
from support import MORE_TEXT, ROOT, TINY, git, proposal

from data.byte_table import bits_per_byte
from data.errors import CaddieError
from data.state import State
from experiments.ablation import ablate, changes
from experiments.baseline import baseline
from experiments.job import Job
from experiments.judge import RULES, Step
from experiments.loop import open_bench, recover
from experiments.outlook import correlations, outlook
from experiments.rejudge import rejudge
from experiments.replicates import generation, new_seeds, noise_by_trial, noise_floor
from experiments.settle import settle_lost
from experiments.tiers import PROFILES, SORT_OUT
from experiments.trial import run_trial
from preflight import bundle
from preflight.tree import PLAIN, Source
from proposers.context import gather

STILL_MORE = ("base/config.py", '"iterations": 12', '"iterations": 40')
WORSE = ("base/config.py", '"smoothing": 0.5', '"smoothing": 500.0')


def search_seeds(bench, number):
    return [one.measured.seed for one in bench.ledger.taken(number) if one.fresh_for is None]


@pytest.fixture
def bench(request, measured_repo, tmp_path):
    """A run of one's own: its baseline measured, and one trial kept where a test asks for `kept`."""
    source = request.getfixturevalue("kept_repo") if "kept" in request.fixturenames else measured_repo
    opened = open_bench(shutil.copytree(source, tmp_path / "run", symlinks=True), "night", "tiny", lambda *_: None)
    yield opened
    opened.close()


@pytest.fixture
def kept(bench):
    return bench.ledger.incumbent()


def test_a_keep_is_measured_again_on_seeds_that_nobody_chose(bench, kept):
    taken = bench.ledger.taken(kept.number)
    mine = {one.measured.seed: one.measured.val_bpb for one in taken if one.fresh_for == kept.number}
    theirs = {one.measured.seed: one.measured.val_bpb for one in bench.ledger.taken(0) if one.fresh_for == kept.number}
    assert len(mine) == TINY.rule.fresh
    assert mine.keys() == theirs.keys()
    assert not mine.keys() & {*search_seeds(bench, 0), *search_seeds(bench, kept.number)}
    assert kept.val_bpb == pytest.approx(fmean(mine.values()))  # the fresh value is the recorded one
    assert kept.delta_bpb == pytest.approx(fmean(mine[seed] - theirs[seed] for seed in mine))
    assert {one.measured.honesty.places for one in taken} == {TINY.proof_places}  # a scorer that counts learns nothing


def test_the_fresh_seeds_serve_the_next_generation(bench, kept, budget):
    fresh = {one.measured.seed for one in bench.ledger.taken(kept.number) if one.fresh_for == kept.number}
    assert generation(bench.ledger, kept, bench.tier).keys() == fresh
    row = run_trial(bench, proposal(bench, STILL_MORE), budget)
    assert set(search_seeds(bench, row.number)) <= fresh
    assert generation(bench.ledger, bench.ledger.row(0), bench.tier, before=1).keys() == set(search_seeds(bench, 0))


def test_seeds_are_not_the_prompts_business(bench, kept, budget):
    """Neither the commit, nor the row, nor what a proposer is handed names one, whatever a program prints."""
    tell = (
        "base/model.py",
        "    draw = ",
        '    if knobs["iterations"] > 3:\n        raise ValueError(knobs["seed"])\n    draw = ',
    )
    row = run_trial(bench, proposal(bench, tell), budget)
    assert row.state is State.CRASH
    assert "ValueError: #" in row.detail
    hexadecimal = (tell[0], tell[1], tell[2].replace('knobs["seed"])', 'hex(knobs["seed"]))'))
    assert "ValueError: #" in run_trial(bench, proposal(bench, hexadecimal), budget).detail
    seeds = {one.measured.seed for number in (0, kept.number) for one in bench.ledger.taken(number)}
    number = bench.intent("the disk is full", "data", kept.commit_id, hypothesis="", proposal="{}")
    full = OSError(28, "No space left on device", f"trials/night/full_{min(seeds)}")
    settle_lost(bench, number, State.INFRA, str(full))
    assert bench.ledger.row(number).detail.startswith("[Errno 28] No space left")
    messages = bench.workspace._git("log", "-2", "--format=%B", row.commit_id)
    seen = messages + repr(gather(bench.workspace.root, "night"))
    assert not [seed for seed in seeds if str(seed) in seen or f"{seed:x}" in seen]


def test_the_noise_floor_grows_with_every_replicate_of_an_incumbent(bench, kept, budget):
    degrees = [noise.degrees for _, noise in noise_by_trial(bench.ledger, bench.tier)]
    start = TINY.expected_noise.degrees
    assert degrees == [start, start + TINY.rule.seeds - 1]  # before the baseline, before trial 1
    after = noise_floor(bench.ledger, bench.tier)
    assert after.degrees == degrees[-1] + 2 * (TINY.rule.fresh - 1)  # the old incumbent and the new one
    assert run_trial(bench, proposal(bench, WORSE), budget).state is State.DISCARDED
    assert noise_floor(bench.ledger, bench.tier) == after  # what merely tried teaches nothing
    told = "\n".join(outlook(bench.ledger, PROFILES["tiny"]))
    assert re.search(r"noise floor: equal trees differ by 0\.\d+ bpb", told)
    assert "seeds show a true gain of 0." in told
    assert "minutes and $0.00" in told


def test_a_night_judged_again_by_its_own_rule_is_the_same_night(bench, kept, budget):
    for edit in (WORSE, STILL_MORE, ("base/config.py", '"passes": 1', '"passes": 2')):
        run_trial(bench, proposal(bench, edit), budget)
    before = bench.ledger.path.read_bytes()
    found = list(rejudge(bench.ledger, bench.tier, TINY.rule))
    assert [(one.row.number, str(one.step)) for one in found] == [
        (row.number, str(row.state)) for row in bench.ledger.rows()[1:]
    ]
    greedy = {one.row.number: one.step for one in rejudge(bench.ledger, bench.tier, RULES["greedy"])}
    for one in found:
        assert greedy[one.row.number] is (Step.KEPT if one.evidence.search[0] < 0 else Step.DISCARDED)
    strict = dataclasses.replace(TINY.rule, fresh=9)
    assert {one.step for one in rejudge(bench.ledger, bench.tier, strict)} == {Step.FRESH, Step.DISCARDED}
    assert bench.ledger.path.read_bytes() == before


def test_rejudge_and_verdict_as_commands(bench, kept):
    root = bench.workspace.root
    bench.close()

    def said(*arguments):
        command = [sys.executable, "-m", "experiments", *arguments, "--root", str(root)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        return done.returncode, done.stdout

    code, text = said("rejudge", "night", "--rule", "fresh=0,keep_p=0.5")
    assert (code, "now: 1 kept" in text) == (0, True), text
    code, text = said("rejudge", "night", "--rule", "luck")
    assert (code, "--rule: got 'luck'" in text) == (2, True), text
    (root / "records").mkdir()
    (root / "records" / "frontier.json").write_bytes((ROOT / "records" / "frontier.json").read_bytes())
    code, text = said("verdict", str(kept.number), "--run", "night")
    assert code == 0, text
    assert "not met; missing:" in text
    assert "this profile measures another text" in text
    code, text = said("verdict", "--bpb", "1.0471", "--bpb", "1.0463", "--bpb", "1.0466")
    assert text.count(": met\n") == 2, text
    assert "missing" not in text
    code, text = said("status", "--run", "night")
    assert "noise floor" in text


def test_a_seed_that_is_ignored_is_found_by_two_smokes(bench, budget):
    row = run_trial(bench, proposal(bench, ("base/model.py", 'knobs["seed"]', "42")), budget)
    assert row.state is State.SEED_IGNORED, row.detail


def test_a_seed_that_is_ignored_in_earnest_is_found_by_two_seeds(bench, budget):
    """It matters in the smoke run's few steps, and not beyond them."""
    hidden = ("base/model.py", 'knobs["seed"]', '42 if knobs["iterations"] > 3 else knobs["seed"]')
    row = run_trial(bench, proposal(bench, hidden, MORE_TEXT), budget)
    assert row.state is State.SEED_IGNORED, row.detail
    assert "the same artifact twice" in row.detail


def test_the_proxy_sorts_out_and_its_controls_go_on(repo, budget, monkeypatch):
    short = dataclasses.replace(TINY.target, environment={**TINY.target.environment, "ITERATIONS": "2"})
    proxy = dataclasses.replace(TINY, name="proxy", rule=SORT_OUT, target=short)
    monkeypatch.setitem(PROFILES, "tiny", dataclasses.replace(PROFILES["tiny"], proxy=proxy))
    bench = open_bench(repo, "night", "tiny", lambda *_: None)

    def tiers(number):
        return [one.tier for one in bench.ledger.taken(number) if one.fresh_for is None]

    baseline(bench)
    assert tiers(0) == ["proxy"] * 3 + ["full"] * 3
    row = run_trial(bench, proposal(bench, WORSE), budget)
    assert (row.state, row.val_bpb, tiers(row.number)) == (State.DISCARDED, None, ["proxy"])
    assert row.detail.startswith("proxy: ")
    row = run_trial(bench, proposal(bench, MORE_TEXT), budget)  # the proxy's steps are fixed: no difference there
    assert row.state is State.KEPT, row.detail
    assert tiers(row.number) == ["proxy", "full", "repeat"]
    chosen = set(generation(bench.ledger, row, proxy))
    while len(bench.ledger.rows()) < 10:
        number = bench.intent("filler", "none", row.parent, hypothesis="", proposal="{}")
        bench.ledger.settle(number, State.NO_OP)
    row = run_trial(bench, proposal(bench, WORSE, title="a control"), budget)
    assert (row.number, row.state, tiers(10)) == (10, State.DISCARDED, ["proxy", "full"])
    afresh = set(generation(bench.ledger, bench.ledger.incumbent(), proxy))  # no longer the number that won
    assert len(afresh) == TINY.rule.seeds
    assert not afresh & chosen
    assert set(search_seeds(bench, 10)) <= afresh | generation(bench.ledger, bench.ledger.incumbent(), TINY).keys()
    run_trial(bench, proposal(bench, WORSE, title="another"), budget)
    assert set(generation(bench.ledger, bench.ledger.incumbent(), proxy)) == afresh
    bench.close()


def test_a_controller_killed_in_the_middle_of_a_confirmation_leaves_no_trace(bench, kept, budget):
    """A half-finished batch of fresh seeds is nobody's generation, teaches no noise, and decides nothing later."""

    def known():
        rejudged = [(one.row.number, one.step) for one in rejudge(bench.ledger, bench.tier, TINY.rule)]
        incumbent = bench.ledger.incumbent()
        return generation(bench.ledger, incumbent, bench.tier), noise_floor(bench.ledger, bench.tier), rejudged

    before = known()
    number = bench.intent("killed", "data", kept.commit_id, hypothesis="", proposal="{}")
    like = bench.ledger.measurements(kept.number)[0]
    for owner, seed in ((kept.number, 5), (number, 5)):
        half = dataclasses.replace(like, seed=seed, val_bpb=0.1)
        bench.ledger.add_measurement(owner, bench.tier.name, "dev", half, fresh_for=number)
    assert [row.number for row in recover(bench)] == [number]
    assert known() == before
    row = run_trial(bench, proposal(bench, STILL_MORE), budget)
    assert 5 not in search_seeds(bench, row.number)


def test_lines_that_go_with_their_knob_are_stock_not_clutter(bench, budget):
    """No loss changes in either trial: a line less is a win, a line and a knob less is not."""
    unread = ("        self.last = None\n        self.seen = 0\n", "        self.last = None\n")
    lines = [("base/scorer.py", *edit) for edit in (unread, ("        self.seen += len(tokens)\n", ""))]
    knob = ("base/config.py", '"batch_tokens": 4096, ', "")
    order = ('len(stream) // knobs["batch_tokens"]', "len(stream) // 4096")
    start = ('% len(order)] * knobs["batch_tokens"]', "% len(order)] * 4096")
    batch = ('start + knobs["batch_tokens"] + 1', "start + 4096 + 1")
    uses = [("base/model.py", *edit) for edit in (order, start, batch)]
    row = run_trial(bench, proposal(bench, *lines, knob, *uses), budget)
    assert (row.state, row.net_code_lines, row.delta_bpb) == (State.DISCARDED, -2, 0.0), row.detail
    assert "no loss changed on 1 seeds" in row.detail
    assert "a knob went with them" in row.detail
    row = run_trial(bench, proposal(bench, *lines), budget)
    assert (row.state, row.net_code_lines, row.delta_bpb) == (State.KEPT, -1, 0.0), row.detail


def test_how_well_a_tier_ranks_is_by_class(bench):
    """Spearman over trials that both tiers measured: one class in perfect order, the other in reverse."""
    start, (like, *_) = bench.ledger.row(0), bench.ledger.measurements(0)
    bench.ledger.add_measurement(0, "proxy", "dev", like)
    for kind, sign in (("data", 1), ("optimiser", -1)):
        for i in range(6):
            number = bench.intent("t", kind, start.commit_id, hypothesis="", proposal="{}")
            for tier, shift in (("proxy", i), ("full", sign * i)):
                measured = dataclasses.replace(like, val_bpb=like.val_bpb + 0.01 * shift)
                bench.ledger.add_measurement(number, tier, "dev", measured)
            bench.ledger.settle(number, State.DISCARDED)
    found = {kind: (count, rho) for kind, count, rho in correlations(bench.ledger, "proxy", "full")}
    assert found["data"] == (6, pytest.approx(1.0))
    assert found["optimiser"] == (6, pytest.approx(-1.0))
    assert found["all"][0] == 12
    assert abs(found["all"][1]) < 0.2


def test_every_place_of_a_diff_is_undone_alone():
    lines = [f"line {i}\n" for i in range(30)]
    after = [*lines[:3], "changed\n", *lines[4:20], "new\n", "newer\n", *lines[20:]]

    def source(text):
        return Source(PLAIN, "".join(text).encode())

    parent = {"base/a.py": source(lines), "base/gone.py": source(["x\n"])}
    tree = {"base/a.py": source(after), "base/b.py": source(["y\n"])}
    found = changes(parent, tree)
    assert [change.label for change in found] == [
        "base/a.py:4, +1 -1",
        "base/a.py:21, +2 -0",
        "base/b.py, a new file",
        "base/gone.py, removed",
    ]
    first = [*lines[:20], "new\n", "newer\n", *lines[20:]]
    assert found[0].tree["base/a.py"] == source(first)
    assert found[1].tree["base/a.py"] == source([*lines[:3], "changed\n", *lines[4:]])
    assert "base/b.py" not in found[2].tree
    assert found[3].tree["base/gone.py"] == parent["base/gone.py"]


def test_a_winner_is_taken_apart(bench, budget):
    """One change that wins, one that does nothing to the score, one that the first needs."""
    need = ("base/model.py", "VOCAB = 1024\n", "VOCAB = 1024\nTIMES = 3\n")
    use = (
        "base/model.py",
        'for step in range(knobs["iterations"]):',
        'for step in range(TIMES * knobs["iterations"]):',
    )
    idle = ("base/scorer.py", "        self.seen = 0\n", "        self.seen = 0\n        self.read = 0\n")
    comment = ("base/config.py", "import os\n", "import os\n\n# a remark\n")
    row = run_trial(bench, proposal(bench, need, use, idle, comment), budget)
    assert row.state is State.KEPT, row.detail
    found = list(ablate(bench, row, budget))
    assert [re.sub(r":\d+", "", one.label) for one in found] == [
        "base/model.py, +1 -0",
        "base/model.py, +1 -1",
        "base/scorer.py, +1 -0",
    ]
    needed, wins, nothing = found
    assert needed.verdict.startswith("crash")
    assert fmean(wins.differences) == pytest.approx(-row.delta_bpb, abs=0.02)
    assert len(wins.differences) == TINY.rule.fresh
    assert nothing.differences == [0.0] * TINY.rule.fresh
    assert bench.ledger.row(row.number) == row
    with pytest.raises(CaddieError, match="never measured"):
        list(ablate(bench, run_trial(bench, proposal(bench, parent="0" * 40, title="x"), budget), budget))


def test_one_change_cannot_be_taken_apart(bench, kept, budget):
    with pytest.raises(CaddieError, match="is one change"):
        list(ablate(bench, kept, budget))


SHARP = "np.log(table / table.sum(axis=1, keepdims=True))"
ORDER = 'default_rng(knobs["seed"])'


def flattened(share: float) -> str:
    """The scorer's distribution mixed with the uniform one: worse by an amount that no seed moves much."""
    return f"np.log({1 - share!r} * table / table.sum(axis=1, keepdims=True) + {share!r} / VOCAB)"


def share_for(bench, effect_bpb: float) -> float:
    """How much of the uniform distribution makes the baseline's own weights worse by so much, by bisection."""
    (one, *_) = bench.ledger.taken(0)
    weights = np.fromfile(bench.measured_in(0, one) / "weights.bin", dtype=np.uint8)
    counts = weights.astype(np.float32).reshape(1024, 1024)
    unigram = counts.sum(axis=0) + 0.1
    table = counts + 1024 * 0.5 * unigram / unigram.sum() * 0.1
    tokens = bench.corpus.tokens("dev").astype(np.int64)
    likely = (table / table.sum(axis=1, keepdims=True))[tokens[:-1], tokens[1:]].astype(np.float64)
    text_bytes = int(bench.corpus.byte_table().target_bytes(tokens.astype(np.uint16)).sum())

    def worse(share: float) -> float:
        mixed = -np.log((1 - share) * likely + share / 1024).sum() + np.log(likely).sum()
        return bits_per_byte(float(mixed), text_bytes) - effect_bpb

    return float(brentq(worse, 1e-6, 0.9))


@pytest.mark.slow
def test_ten_nights_with_a_planted_gain_and_a_planted_loss(bench, blank_repo, tmp_path, budget):
    """Three detectable effects either way, by the floor of ten replicates, on batches no other tree has seen."""
    values = [one.val_bpb for one in bench.ledger.measurements(0)]
    program = bench.trial_folder(0) / bundle.NAME
    for seed in new_seeds(7):
        job = Job(program, bench.tier, bench.corpus, seed, budget, tmp_path / str(seed), bench.level)
        values.append(bench.runner.measure(job).val_bpb)
    effect = 3 * TINY.rule.detectable(TINY.expected_noise.with_replicates(values))
    start, worse = share_for(bench, effect), share_for(bench, 2 * effect)
    kept, losses = 0, 0
    for night in range(10):
        root = shutil.copytree(blank_repo, tmp_path / f"night{night}", symlinks=True)
        model = root / "base" / "model.py"
        model.write_text(model.read_text().replace(SHARP, flattened(start)))
        git(root, "commit", "--quiet", "--all", "--message=handicapped")
        opened = open_bench(root, "night", "tiny", lambda *_: None)
        baseline(opened)
        for share, wanted in ((worse, State.DISCARDED), (0.0, State.KEPT)):
            sharper = ("base/model.py", flattened(start), flattened(share))
            batches = ("base/model.py", ORDER, f'default_rng([knobs["seed"], {night}])')
            row = run_trial(opened, proposal(opened, sharper, batches, title=f"{wanted} {night}"), budget)
            print(night, wanted, row.state, row.delta_bpb, effect, row.detail)
            kept += wanted is State.KEPT and row.state is State.KEPT
            losses += wanted is State.DISCARDED and row.state is State.KEPT
        opened.close()
    assert losses == 0
    assert kept >= 9
