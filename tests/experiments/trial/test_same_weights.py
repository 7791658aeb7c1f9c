"""Changes of quantization alone: decided on the incumbent's checkpoints, and run in full before they are kept."""

import json

import pytest
from helpers.tiny_profile import git, proposal

from common.state import State
from experiments.analysis.gains import gains
from experiments.analysis.pairing import WEIGHTS, same_weights_noise
from experiments.ledger.rows import COLUMNS, Row
from experiments.report.pages import write
from experiments.run.run import open_run
from experiments.trial.baseline import measure_baseline
from experiments.trial.compare import REPEAT
from experiments.trial.same_weights import leaves_training_alone
from experiments.trial.trial import run_trial
from preflight.checks import Report
from preflight.sandbox.isolation.levels import available_levels
from preflight.source.tree import Source, Tree

pytestmark = pytest.mark.trial
LEVELS = ("base/config.py", '"levels": 255', '"levels": {}')


def tiers(run, number):
    return [row.tier for row in run.ledger.measurement_rows(number)]


def stages(run, number):
    return run.ledger.stages(number)


def with_levels(run, count, before=LEVELS[1]):
    return proposal(run, (LEVELS[0], before, LEVELS[2].format(count)), **{"class": "quantization"})


def test_a_worse_quantization_is_discarded_without_a_training(run, budget):
    row = run_trial(run, with_levels(run, 1), budget)
    assert row.state is State.DISCARDED
    assert row.delta_bpb > 0
    assert tiers(run, row.number) == [WEIGHTS]
    assert "measure" not in stages(run, row.number)
    (stored,) = run.ledger.measurement_rows(row.number)
    own = next(each for each in run.ledger.measurement_rows(0) if each.measured.seed == stored.measured.seed)
    assert stored.measured.data_seed == own.measured.data_seed
    assert row.delta_bpb == pytest.approx(stored.measured.val_bpb - own.measured.val_bpb)
    (gain,) = gains(run.ledger, run.tier, [row]).values()
    assert gain.error == pytest.approx(same_weights_noise(run.tier).difference_sd), "not that of two trainings"


@pytest.fixture
def coarse_run(repo):
    """A run whose baseline throws away all counts above one: its checkpoints hold more."""
    config = repo / "base" / "config.py"
    config.write_text(config.read_text().replace(LEVELS[1], LEVELS[2].format(1)))
    git(repo, "commit", "--all", "--quiet", "--message=coarse")
    opened = open_run(repo, "night", "tiny", lambda *_: None, available_levels()[0])
    measure_baseline(opened)
    yield opened
    opened.close()


def test_a_better_one_is_run_in_full_and_confirmed_on_fresh_seeds(coarse_run, budget):
    finer = proposal(coarse_run, ("base/config.py", '"levels": 1', '"levels": 200'), **{"class": "quantization"})
    row = run_trial(coarse_run, finer, budget)
    assert row.state is State.KEPT, row.detail
    rows = coarse_run.ledger.measurement_rows(row.number)
    on_weights = [stored for stored in rows if stored.tier == WEIGHTS]
    whole = [stored for stored in rows if stored.tier == coarse_run.tier.name]
    assert on_weights
    (repeated,) = (stored for stored in rows if stored.tier == REPEAT)
    assert repeated.measured.artifact_sha256 == on_weights[0].measured.artifact_sha256, "training is the incumbent's"
    assert len([stored for stored in whole if stored.fresh_for == row.number]) == coarse_run.tier.rule.fresh
    again = run_trial(coarse_run, with_levels(coarse_run, 3, before='"levels": 200'), budget)
    assert again.state is State.DISCARDED
    assert tiers(coarse_run, again.number) == [WEIGHTS]


@pytest.mark.slow
def test_one_that_touches_training_after_all_is_compared_in_full(coarse_run, budget, monkeypatch):
    """Its files and knobs say nothing of it, but its artifact after training is another one."""
    monkeypatch.setattr("experiments.trial.trial.leaves_training_alone", lambda *_: True)
    model = ("base/model.py", "< 0.01", "< 0.005")
    edit = ("base/config.py", '"levels": 1', '"levels": 200')
    row = run_trial(coarse_run, proposal(coarse_run, edit, model, **{"class": "quantization"}), budget)
    assert row.state.judged
    rows = coarse_run.ledger.measurement_rows(row.number)
    assert [stored.tier for stored in rows][:3] == [WEIGHTS, REPEAT, coarse_run.tier.name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edits", "alone"),
    [
        ([LEVELS], True),
        ([("base/config.py", '"passes": 1', '"passes": 2')], False),
        ([("base/model.py", "0.01", "0.02")], False),
    ],
)
def test_what_leaves_training_alone(run, budget, edits, alone):
    edits = [(path, before, after.format(9)) for path, before, after in edits]
    row = run_trial(run, proposal(run, *edits, **{"class": "quantization"}), budget)
    assert (WEIGHTS in tiers(run, row.number)) == alone


def tree_of(**files) -> Tree:
    return {f"base/{name}": Source("100644", text.encode()) for name, text in files.items()}


@pytest.mark.parametrize(
    ("path", "before", "after", "alone"),
    [
        ("quant/gptq.py", {}, {}, True),
        ("compress/mixing.py", {}, {}, True),
        ("evaluate/experts/agreement.py", {}, {}, True),
        ("evaluate/knobs.py", {"temperature": 1.0}, {"temperature": 0.98}, True),
        ("presets.py", {"qat": "ste", "eval_stride": 64}, {"qat": "ste", "eval_stride": 32}, True),
        ("presets.py", {"eval_length": 64}, {"eval_length": 128}, False),
        ("export.py", {}, {}, True),
        ("quant/fake_quant.py", {}, {}, False),
        ("quant/calibration.py", {}, {}, False),
        ("train.py", {}, {}, False),
        ("config.py", {"matrix_bits": 6}, {"matrix_bits": 5}, True),
        ("config.py", {"matrix_bits": 6, "qat": "ste"}, {"matrix_bits": 5, "qat": "ste"}, False),
        ("config.py", {"crown_q": 0.1, "matrix_bits": 6}, {"crown_q": 0.1, "matrix_bits": 5}, False),
        ("config.py", {"qat": "none"}, {"qat": "ste"}, False),
        ("config.py", {"codecs": "mix"}, {"codecs": "zstd"}, True),
        ("config.py", {"calibration_batches": 4}, {"calibration_batches": 8}, False),
        ("config.py", {"matrix_lr": 4}, {"matrix_lr": 8}, False),
        ("presets.py", {"matrix_bits": 4, "matrix_lr": 4}, {"matrix_bits": 5, "matrix_lr": 8}, False),
        ("config.py", {}, {"new": 1}, False),
    ],
)
def test_files_and_knobs_that_leave_training_alone(path, before, after, alone):
    sections = dict.fromkeys(("matrix_bits", "qat", "crown_q", "calibration_batches"), "quant")
    sections |= {"codecs": "pack", "matrix_lr": "optim", "temperature": "eval", "eval_stride": "eval"}
    sections |= {"eval_length": "eval"}
    report = Report(knobs=json.dumps(after), sections=sections)
    incumbent = Row(**{**dict.fromkeys(COLUMNS), "knobs": json.dumps(before)})
    trees = tree_of(**{path: "new"}), tree_of(**{path: "old"})
    assert leaves_training_alone(*trees, report, incumbent) == alone


def test_the_report_shows_such_a_trial_as_a_child_of_the_weights_it_used(run, budget):
    row = run_trial(run, with_levels(run, 1), budget)
    folder = write(run.trial_folder(0).parent.parent.parent, run.name).parent / "trials"
    child, parent = ((folder / f"{number:04d}.html").read_text() for number in (row.number, 0))
    assert 'Measured on the saved weights of <a href="0000.html">' in child
    assert f'Measured on its weights: <a href="{row.number:04d}.html">' in parent
