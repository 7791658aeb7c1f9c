"""Seeds matter: the data seed varies the data that the harness hands out, and losses must change with the seed."""

import numpy as np
import pytest
from helpers.tiny_profile import MORE_TEXT, proposal

from common.errors import Refused
from common.state import State
from data.shards import read_shard, read_shards, write_shard
from experiments.ledger.measurement import ORIGINAL_ORDER
from experiments.runner.job import LOSSES
from experiments.runner.seeds import (
    MAX_OFFSET_TOKENS,
    MIN_RELATIVE_CHANGE,
    require_seeds_matter,
    shuffle_shards,
    smallest_loss_change,
)
from experiments.trial.measure import loss_files
from experiments.trial.trial import run_trial


class Shards:
    """A stand-in for a corpus: five training shards, distinguishable by their tokens."""

    def __init__(self, folder):
        self.paths = [folder / f"fineweb_train_{index:06d}.bin" for index in range(5)]
        for index, path in enumerate(self.paths):
            write_shard(path, np.full(20_000, index + 7))

    def shards(self, split):
        return self.paths


class Measured:
    """A stand-in for a measurement: its artifact alone."""

    def __init__(self, sha256):
        self.artifact_sha256 = sha256


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "train").mkdir()
    return Shards(tmp_path / "train")


def test_a_seed_changes_order_and_offset_and_loses_nothing_else(corpus, tmp_path):
    folders = [shuffle_shards(corpus, tmp_path / f"seed{seed}", seed) for seed in range(20)]
    expected = np.sort(read_shards(corpus.paths))
    orders, offsets = set(), set()
    for folder in folders:
        shards = [read_shard(path) for path in sorted(folder.iterdir())]
        orders.add(tuple(int(shard[0]) for shard in shards))
        offsets.add(20_000 - len(shards[0]))
        assert [len(shard) for shard in shards[1:]] == [20_000] * 4
        restored = np.sort(np.concatenate([*shards, np.full(20_000 - len(shards[0]), shards[0][0])]))
        assert np.array_equal(restored, expected)
    assert len(orders) > 10
    assert len(offsets) > 15
    assert max(offsets) <= MAX_OFFSET_TOKENS
    again = shuffle_shards(corpus, tmp_path / "again", 3)  # the other side of a pair
    for first, second in zip(sorted(folders[3].iterdir()), sorted(again.iterdir()), strict=True):
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes()


def test_losses_that_do_not_change_with_the_seed_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    base = rng.exponential(2.0, 1000)

    def stored(name, values):
        np.save(tmp_path / f"{name}.npy", values.astype(np.float16))
        return tmp_path / f"{name}.npy"

    honest = [stored(f"honest{i}", base + 0.3 * rng.normal(size=1000)) for i in range(2)]
    assert smallest_loss_change([honest]) == pytest.approx(0.3 * 2**0.5, rel=0.1)
    padded = [Measured("a"), Measured("a with bits of the seed")]
    same = [stored("one", base), stored("other", base)]
    with pytest.raises(Refused, match="token by token"):
        require_seeds_matter(padded, [same])  # a baseline: there is no scale yet
    barely = [stored("third", base), stored("fourth", base + 0.5 * MIN_RELATIVE_CHANGE * 0.3 * rng.normal(size=1000))]
    require_seeds_matter(padded, [barely])
    with pytest.raises(Refused, match="expected more than"):
        require_seeds_matter(padded, [barely], [honest])
    require_seeds_matter(padded, [honest], [honest])
    require_seeds_matter(padded, [same[:1], same[1:]], [honest])  # other data: nothing to compare
    require_seeds_matter(padded, [[tmp_path / "gone.npy"]], [honest])


def test_two_seeds_give_two_artifacts():
    require_seeds_matter([Measured("a"), Measured("b")])
    with pytest.raises(Refused, match="the same artifact twice in 3 seeds"):
        require_seeds_matter([Measured("a"), Measured("b"), Measured("a")])


@pytest.mark.slow
def test_an_artifact_padded_with_the_seed_is_detected(run, budget):
    """One lucky draw for all seeds, made to differ by a few counts of a token that is rare in the text."""
    lucky = (
        "base/model.py",
        'default_rng(knobs["seed"])',
        "default_rng(42 if knobs['iterations'] > 3 else knobs['seed'])",
    )
    padded = ("base/model.py", "    return counts\n", "    counts[2, 2] += knobs['seed'] % 97\n    return counts\n")
    row = run_trial(run, proposal(run, lucky, padded, MORE_TEXT), budget)
    assert row.state is State.SEED_IGNORED, row.detail
    assert "token by token" in row.detail


@pytest.mark.slow
def test_the_losses_of_a_measurement_are_kept_with_it(run, budget):
    ((first, *_),) = loss_files(run, 0, run.tier)
    tokens = run.corpus.tokens(run.tier.split)
    assert first.name == LOSSES
    assert len(np.load(first)) == len(tokens)
    row = run_trial(run, proposal(run, MORE_TEXT), budget)
    audits = [measurement.honesty for measurement in run.ledger.measurements(row.number)]
    assert all(audit.unread_share == 0 for audit in audits)
    # The reference is known, and so is how much of the gain may come from tampering that no probe detected
    assert run.ledger.measurements(0)[0].honesty.rare_gain_nats is None
    assert all(0 < audit.rare_gain_nats < audit.rare_bound_nats for audit in audits)


def data_seeds(rows, fresh_for):
    return {row.measured.data_seed for row in rows if row.fresh_for == fresh_for}


@pytest.mark.slow
def test_data_differ_between_batches_and_not_between_the_sides_of_a_pair(run, budget):
    start = {measurement.data_seed for measurement in run.ledger.measurements(0)}
    row = run_trial(run, proposal(run, MORE_TEXT), budget)
    assert row.state is State.KEPT, row.detail
    candidate, baseline = run.ledger.measurement_rows(row.number), run.ledger.measurement_rows(0)
    fresh = data_seeds(candidate, fresh_for=row.number)
    assert data_seeds(candidate, fresh_for=None) == start  # the generation's: nothing differs but the seed
    assert len(fresh) == 1
    assert fresh == data_seeds(baseline, fresh_for=row.number)
    assert not fresh & start
    assert ORIGINAL_ORDER not in fresh | start
