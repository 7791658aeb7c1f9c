"""Luck cannot be fixed: the seed moves the data that the harness hands out, and losses have to move with it."""

import numpy as np
import pytest
from support import MORE_TEXT, proposal

from data.errors import Refused
from data.shards import read_shard, read_shards, write_shard
from data.state import State
from experiments.job import AS_THEY_ARE, LOSSES
from experiments.luck import LEAST_MOVED, MOST_OFFSET, released, require_seeds_matter, smallest_move
from experiments.measurement import losses_of
from experiments.trial import run_trial


class Shards:
    """As much of a corpus as is needed: five training shards, told apart by their tokens."""

    def __init__(self, folder):
        self.paths = [folder / f"fineweb_train_{place:06d}.bin" for place in range(5)]
        for place, path in enumerate(self.paths):
            write_shard(path, np.full(20_000, place + 7))

    def shards(self, split):
        return self.paths


class Made:
    def __init__(self, sha256):
        self.artifact_sha256 = sha256


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "train").mkdir()
    return Shards(tmp_path / "train")


def test_a_seed_turns_order_and_offset_and_loses_nothing_else(corpus, tmp_path):
    found = [released(corpus, tmp_path / f"seed{seed}", seed) for seed in range(20)]
    whole = np.sort(read_shards(corpus.paths))
    orders, offsets = set(), set()
    for folder in found:
        shards = [read_shard(path) for path in sorted(folder.iterdir())]
        orders.add(tuple(int(shard[0]) for shard in shards))
        offsets.add(20_000 - len(shards[0]))
        assert [len(shard) for shard in shards[1:]] == [20_000] * 4
        rest = np.sort(np.concatenate([*shards, np.full(20_000 - len(shards[0]), shards[0][0])]))
        assert np.array_equal(rest, whole)
    assert len(orders) > 10
    assert len(offsets) > 15
    assert max(offsets) <= MOST_OFFSET
    again = released(corpus, tmp_path / "again", 3)  # the other side of a pair
    for one, other in zip(sorted(found[3].iterdir()), sorted(again.iterdir()), strict=True):
        assert one.name == other.name
        assert one.read_bytes() == other.read_bytes()


def test_losses_that_do_not_move_are_no_seed(tmp_path):
    rng = np.random.default_rng(0)
    base = rng.exponential(2.0, 1000)

    def stored(name, values):
        np.save(tmp_path / f"{name}.npy", values.astype(np.float16))
        return tmp_path / f"{name}.npy"

    honest = [stored(f"honest{i}", base + 0.3 * rng.normal(size=1000)) for i in range(2)]
    assert smallest_move([honest]) == pytest.approx(0.3 * 2**0.5, rel=0.1)
    padded = [Made("a"), Made("a with bits of the seed")]
    same = [stored("one", base), stored("other", base)]
    with pytest.raises(Refused, match="token by token"):
        require_seeds_matter(padded, [same])  # a baseline: nothing is known yet
    barely = [stored("third", base), stored("fourth", base + 0.5 * LEAST_MOVED * 0.3 * rng.normal(size=1000))]
    require_seeds_matter(padded, [barely])
    with pytest.raises(Refused, match="expected more than"):
        require_seeds_matter(padded, [barely], [honest])
    require_seeds_matter(padded, [honest], [honest])
    require_seeds_matter(padded, [same[:1], same[1:]], [honest])  # other data: nothing to compare
    require_seeds_matter(padded, [[tmp_path / "gone.npy"]], [honest])


def test_two_seeds_give_two_artifacts():
    require_seeds_matter([Made("a"), Made("b")])
    with pytest.raises(Refused, match="the same artifact twice in 3 seeds"):
        require_seeds_matter([Made("a"), Made("b"), Made("a")])


def test_an_artifact_padded_with_the_seed_is_found_out(bench, budget):
    """One lucky draw for all seeds, told apart by a few counts of a token that the text hardly has."""
    lucky = (
        "base/model.py",
        'default_rng(knobs["seed"])',
        "default_rng(42 if knobs['iterations'] > 3 else knobs['seed'])",
    )
    padded = ("base/model.py", "    return counts\n", "    counts[2, 2] += knobs['seed'] % 97\n    return counts\n")
    row = run_trial(bench, proposal(bench, lucky, padded, MORE_TEXT), budget)
    assert row.state is State.SEED_IGNORED, row.detail
    assert "token by token" in row.detail


def test_the_losses_of_a_measurement_stay_beside_it(bench, budget):
    ((first, *_),) = losses_of(bench, 0, bench.tier)
    tokens = bench.corpus.tokens(bench.tier.split)
    assert first.name == LOSSES
    assert len(np.load(first)) == len(tokens)
    row = run_trial(bench, proposal(bench, MORE_TEXT), budget)
    taken = bench.ledger.taken(row.number)
    assert all(one.measured.honesty.unread_share == 0 for one in taken)
    # what it is held against is known, and so is how much of its gain may rest on lies that no place met
    assert bench.ledger.measurements(0)[0].honesty.rare_gain_nats is None
    assert all(0 < one.measured.honesty.rare_gain_nats < one.measured.honesty.rare_bound_nats for one in taken)


def test_data_move_from_batch_to_batch_and_alike_for_both_sides(bench, budget):
    start = {one.measured.data_seed for one in bench.ledger.taken(0)}
    row = run_trial(bench, proposal(bench, MORE_TEXT), budget)
    assert row.state is State.KEPT, row.detail
    mine, theirs = bench.ledger.taken(row.number), bench.ledger.taken(0)
    search = {one.measured.data_seed for one in mine if one.fresh_for is None}
    fresh, again = ({one.measured.data_seed for one in side if one.fresh_for == row.number} for side in (mine, theirs))
    assert search == start  # the generation's: its seeds differ by nothing but the seed
    assert len(fresh) == 1
    assert fresh == again
    assert not fresh & start
    assert AS_THEY_ARE not in fresh | start
