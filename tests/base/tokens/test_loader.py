"""Training batches: every order visits each window once an epoch, and all rank counts see the same global batches."""

import dataclasses
from itertools import islice
from math import gcd

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from base.config import Config, Data  # noqa: E402
from base.model.attention.document_mask import BOS  # noqa: E402
from base.runtime import Runtime, generator  # noqa: E402
from base.tokens import loader, orders  # noqa: E402

LENGTH = 16
CPU = torch.device("cpu")


def make_shards(sizes=(1000, 333, 20, 16, 1700), documents=0):
    """Return shards whose tokens all differ, so that a token identifies its position; with documents, some are BOS."""
    ends = np.cumsum([0, *sizes])
    shards = [np.arange(start + 2, end + 2, dtype=np.uint16) for start, end in zip(ends, ends[1:], strict=False)]
    random = np.random.default_rng(documents)
    for shard in shards:
        if documents:
            shard[random.integers(0, len(shard), len(shard) // documents)] = BOS
            shard[0] = BOS
    return shards


def config(order, batch=8, seed=1):
    base = Config(data=Data(batch_tokens=batch * LENGTH, sequence_length=LENGTH, order=order))
    return dataclasses.replace(base, run=dataclasses.replace(base.run, seed=seed))


def epoch(order, streams, seed=1, batch=8):
    return list(orders.ORDERS[order](streams, LENGTH, generator(seed, "data"), batch))


@pytest.mark.parametrize("order", orders.ORDERS)
def test_an_epoch_visits_each_window_once(order):
    streams = make_shards(documents=10)
    visited = epoch(order, streams)
    assert len(set(visited)) == len(visited)
    for shard, first in visited:
        assert 0 <= first <= len(streams[shard]) - LENGTH - 1
    targets = [target for shard, first in visited for target in (1000 * shard + first + i + 1 for i in range(LENGTH))]
    assert len(set(targets)) == len(targets), "a token is a target twice"
    most = sum((len(stream) - 1) // LENGTH for stream in streams)
    assert len(visited) == most if order == "shuffled" else len(visited) > 0.6 * most
    assert visited != sorted(visited)


@pytest.mark.parametrize("order", ["shuffled", "strided"])
def test_nothing_but_the_ends_is_left_out(order):
    streams = make_shards()
    by_shard = {
        shard: sorted(first for s, first in epoch(order, streams) if s == shard) for shard in range(len(streams))
    }
    for shard, firsts in by_shard.items():
        assert all(b - a == LENGTH for a, b in zip(firsts, firsts[1:], strict=False))  # side by side, no gap
        if firsts:
            assert firsts[0] < LENGTH
            assert len(streams[shard]) - 1 - (firsts[-1] + LENGTH) < LENGTH
    assert by_shard[3] == []  # too short for a window


def test_strides_are_coprime_and_batches_mix_shards():
    streams = make_shards((4000,) * 12)
    visited = epoch("strided", streams, batch=32)
    assert len({shard for shard, _ in visited[:32]}) == orders.MIXED_FIRST
    random = np.random.default_rng(0)
    assert all(gcd(orders.coprime_stride(count, random), count) == 1 for count in range(2, 200))
    firsts = [first for shard, first in visited if shard == 0]
    assert sorted(firsts) == list(range(min(firsts), max(firsts) + 1, LENGTH))


def test_later_batches_mix_more_shards(monkeypatch):
    monkeypatch.setattr(orders, "MIXING_BATCHES", 4)
    streams = make_shards((3000,) * 20)
    visited = epoch("strided", streams, batch=64)
    mixed = [len({shard for shard, _ in visited[start : start + 64]}) for start in (0, 64, 128, 192)]
    assert mixed == sorted(mixed)
    assert mixed[0] == orders.MIXED_FIRST
    assert mixed[-1] == 20
    later = list(
        orders.strided(streams, LENGTH, generator(1, "data"), 64, yielded=10**6)
    )  # another epoch continues the mixing
    assert len({shard for shard, _ in later[:64]}) == 20


def test_packed_windows_begin_with_documents():
    streams = make_shards(documents=10)
    for shard, first in epoch("packed", streams):
        opens = streams[shard][first] == BOS
        inside = first >= LENGTH and not (streams[shard][first : first + LENGTH] == BOS).any()
        assert opens or inside


def test_a_long_document_fills_several_windows():
    tokens = np.arange(2, 202, dtype=np.uint16)
    tokens[[3, 120]] = BOS
    assert orders.document_windows(tokens, 50) == [3, 53, 120]  # 103 is skipped for the document at 120
    assert orders.document_windows(tokens[:100], 50) == [3]
    assert orders.document_windows(tokens[4:100], 50) == [0]  # no start of a document at all


@pytest.mark.parametrize("order", orders.ORDERS)
def test_rank_counts_see_the_same_global_batches(order):
    streams, batches_by_world = make_shards(documents=10), {}
    for world in (1, 2, 4, 8):
        sources = [
            loader.batches(config(order), Runtime(rank, world, CPU, torch.float32), streams) for rank in range(world)
        ]
        steps = [[next(source) for source in sources] for _ in range(60)]  # two epochs and more
        for batch in steps:
            for tokens, targets in batch:
                assert torch.equal(tokens[:, 1:], targets[:, :-1])
        batches_by_world[world] = [
            sorted(tuple(row) for tokens, _ in batch for row in tokens.tolist()) for batch in steps
        ]
    assert batches_by_world[1] == batches_by_world[2] == batches_by_world[4] == batches_by_world[8]


@pytest.mark.parametrize("order", orders.ORDERS)
def test_another_seed_is_another_order(order):
    streams = make_shards(documents=10)
    assert epoch(order, streams) == epoch(order, streams)
    assert epoch(order, streams) != epoch(order, streams, seed=2)


@pytest.mark.parametrize(
    ("world", "micro", "count"), [(1, 10**6, 1), (1, 4 * LENGTH, 2), (2, 3 * LENGTH, 2), (1, 1, 8)]
)
def test_a_share_is_cut_into_equal_micro_batches(world, micro, count):
    data = dataclasses.replace(config("shuffled").data, micro_tokens=micro)
    assert loader.micro_batches(data, world) == count


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_the_challenge_batch_is_the_same_work_on_any_rank_count(world):
    """786,432 tokens a step; a forward pass has the 98,304 of one GPU in eight."""
    data = Data(batch_tokens=786_432, sequence_length=2048)
    assert loader.micro_batches(data, world) == 8 // world


def test_a_batch_that_ranks_cannot_share_is_refused():
    with pytest.raises(ValueError, match="multiple of sequence_length 16 times the number of ranks 3"):
        loader.sequences(config("shuffled").data, 3)


@pytest.mark.parametrize("order", orders.ORDERS)
def test_too_little_data_is_refused(order):
    with pytest.raises(ValueError, match="expected 8 windows of 17 training tokens"):
        list(islice(loader.batches(config(order), Runtime(0, 1, CPU, torch.float32), make_shards((40, 10))), 3))


def test_prefetching_keeps_the_order_and_the_errors():
    def items():
        yield from range(5)
        raise OSError("disk gone")

    source = loader.prefetch(items())
    assert [next(source) for _ in range(5)] == list(range(5))
    with pytest.raises(OSError, match="disk gone"):
        next(source)
