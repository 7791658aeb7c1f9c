"""The second conversation on edited trees that lie about their losses, end to end in real sandboxes."""

from dataclasses import replace

import pytest
from support import proposal

from data.state import State
from experiments.trial import run_trial
from preflight.sandbox import residue

pytestmark = pytest.mark.trial

SCORER = "base/scorer.py"
LOSSES = "        losses = -self.table[before, tokens]\n"
LIES = {
    "constant small losses": (LOSSES, "        losses = np.full(len(tokens), 0.01)\n"),
    "losses x 0.95": (LOSSES, "        losses = -0.95 * self.table[before, tokens]\n"),
    "honest predict, lying observe": (LOSSES, "        losses = np.maximum(-self.table[before, tokens] - 0.02, 0)\n"),
    "a peek ahead inside a block": (
        LOSSES,
        "        losses = -self.table[before, tokens]\n"
        "        losses[:-1] *= np.where(tokens[1:] == tokens[:-1], 0.5, 0.9)\n",
    ),
    "state kept over reset": (
        "        self.seen = 0\n",
        "        self.seen = getattr(self, 'seen', 0)\n"
        "        self.table = self.table - (0.01 if self.seen else 0.0)\n",
    ),
    "losses that depend on the block size": (
        LOSSES,
        "        losses = -self.table[before, tokens] * (0.97 if len(tokens) > 100 else 1.0)\n",
    ),
    "unnormalised predictions": (
        "        return self.table[1 if self.last is None else self.last]",
        "        return self.table[1 if self.last is None else self.last] + 0.1",
    ),
    "losses below nothing": (LOSSES, "        losses = -self.table[before, tokens] - 20.0\n"),
    "a scorer that remembers the stream": (
        "        losses = -self.table[before, tokens]\n"
        "        self.last = int(tokens[-1])\n"
        "        self.seen += len(tokens)\n"
        "        return losses\n\n"
        "    def predict(self):\n"
        "        return self.table[1 if self.last is None else self.last]\n",
        "        self.memory = getattr(self, 'memory', np.zeros(0, dtype=np.int64))\n"
        "        end = self.seen + len(tokens)\n"
        "        if end > len(self.memory):\n"
        "            self.memory = np.concatenate([self.memory[: self.seen], tokens])\n"
        "        self.last = int(tokens[-1])\n        self.seen = end\n"
        "        return np.full(len(tokens), 0.01)\n\n"
        "    def predict(self):\n"
        "        if self.seen >= len(getattr(self, 'memory', [])):\n"
        "            return self.table[1 if self.last is None else self.last]\n"
        "        table = np.full(1024, np.log((1 - np.exp(-0.01)) / 1023))\n"
        "        table[self.memory[self.seen]] = -0.01\n        return table\n",
    ),
    "a rare lie on one token in ten": (
        LOSSES,
        "        losses = -self.table[before, tokens]\n        losses[tokens % 10 == 3] *= 0.5\n",
    ),
    "noise that hides a smooth lie": (
        LOSSES,
        "        losses = -self.table[before, tokens]\n"
        "        losses = np.maximum(losses + np.random.default_rng().normal(-0.02, 0.1, len(losses)), 0)\n",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_caught_with_a_witness(bench, budget, name):
    before, after = LIES[name]
    row = run_trial(bench, proposal(bench, (SCORER, before, after)), budget)
    assert row.state is State.DISHONEST, row.detail
    assert "got" in row.detail
    assert "expected" in row.detail


@pytest.mark.parametrize("factor", [0.3, 0.7])
def test_a_lie_behind_the_part_that_a_search_reads_is_no_keep(bench, budget, factor):
    """As on GPUs, where a proof of every search that reads all would cost as much as the score."""
    count = len(bench.corpus.tokens(bench.tier.split))
    part = replace(bench, tier=replace(bench.tier, proof_tokens=count // 8, proof_places=512))
    behind = f"        losses[self.seen + np.arange(len(tokens)) > {count // 2}] *= {factor}\n"
    row = run_trial(part, proposal(part, (SCORER, LOSSES, LOSSES + behind)), budget)
    assert row.state is State.DISHONEST, row.detail
    assert int(row.detail.split("at token ")[1].split(":")[0]) > count // 2
    search = part.ledger.taken(row.number)[0].measured
    assert search.honesty.unread_share > 0.8
    claimed = bench.ledger.row(0).val_bpb - search.val_bpb  # by all of the text, nearly all of it unread
    per_nat = search.val_bpb / search.val_nats
    assert search.honesty.unread_bound_nats * per_nat > 0.8 * claimed
    assert search.honesty_bpb > search.honesty.unread_bound_nats * per_nat


def test_the_honest_baseline_passes_with_its_bound(bench):
    row = bench.ledger.row(0)
    proof = bench.ledger.measurements(0)[0].honesty
    assert row.state is State.BASELINE
    text_bytes = int(bench.corpus.byte_table().target_bytes(bench.corpus.tokens("dev")).sum())
    assert 0 <= row.honesty_bpb - residue.bpb(bench.level, text_bytes, row.val_bpb) < 1e-3  # 64 places
    assert 0 <= proof.charge_nats < 1e-6
    assert proof.places == bench.tier.proof_places
    assert proof.tokens == len(bench.corpus.tokens("dev"))
    assert 0 < row.rare_bpb < 1
