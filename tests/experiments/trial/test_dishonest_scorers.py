"""Tests of the audit on scorers that report false losses, end to end in real sandboxes."""

from dataclasses import replace

import pytest
from helpers.tiny_profile import proposal

from common.state import State
from experiments.trial.trial import run_trial
from preflight.sandbox.isolation import residue

pytestmark = pytest.mark.trial

SCORER = "base/scorer.py"
LOSSES = "        losses = -self.table[before, tokens]\n"
DISHONEST = {
    "constant small losses": (LOSSES, "        losses = np.full(len(tokens), 0.01)\n"),
    "losses x 0.95": (LOSSES, "        losses = -0.95 * self.table[before, tokens]\n"),
    "honest predict, false observe": (LOSSES, "        losses = np.maximum(-self.table[before, tokens] - 0.02, 0)\n"),
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
    "unnormalized predictions": (
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
    "sparse tampering with one token in ten": (
        LOSSES,
        "        losses = -self.table[before, tokens]\n        losses[tokens % 10 == 3] *= 0.5\n",
    ),
    "noise that hides a systematic bias": (
        LOSSES,
        "        losses = -self.table[before, tokens]\n"
        "        losses = np.maximum(losses + np.random.default_rng().normal(-0.02, 0.1, len(losses)), 0)\n",
    ),
}


QUICK = (
    "sparse tampering with one token in ten",
    "unnormalized predictions",
    "a peek ahead inside a block",
    "losses x 0.95",
)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in DISHONEST]
)
def test_a_false_loss_is_refused_with_an_example(run, budget, name):
    before, after = DISHONEST[name]
    row = run_trial(run, proposal(run, (SCORER, before, after)), budget)
    assert row.state is State.DISHONEST, row.detail
    assert "got" in row.detail
    assert "expected" in row.detail


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.3, 0.7])
def test_false_losses_outside_the_audited_part_are_not_kept(run, budget, factor):
    """As on GPUs, where auditing all tokens in every search would cost as much as the score."""
    count = len(run.corpus.tokens(run.tier.split))
    partly_audited = replace(run, tier=replace(run.tier, audit_tokens=count // 8, audit_positions=512))
    biased = f"        losses[self.seen + np.arange(len(tokens)) > {count // 2}] *= {factor}\n"
    row = run_trial(partly_audited, proposal(partly_audited, (SCORER, LOSSES, LOSSES + biased)), budget)
    assert row.state is State.DISHONEST, row.detail
    assert int(row.detail.split("at token ")[1].split(":")[0]) > count // 2
    search = partly_audited.ledger.measurement_rows(row.number)[0].measured
    assert search.honesty.unread_share > 0.8
    claimed = run.ledger.row(0).val_bpb - search.val_bpb  # over all of the text, nearly all of it unread
    per_nat = search.val_bpb / search.val_nats
    assert search.honesty.unread_bound_nats * per_nat > 0.8 * claimed
    assert search.honesty_bpb > search.honesty.unread_bound_nats * per_nat


def test_the_honest_baseline_passes_with_its_score_error_bound(run):
    row = run.ledger.row(0)
    audit = run.ledger.measurements(0)[0].honesty
    assert row.state is State.BASELINE
    text_bytes = int(run.corpus.byte_table().target_bytes(run.corpus.tokens("dev")).sum())
    assert 0 <= row.honesty_bpb - residue.bpb(run.level, text_bytes, row.val_bpb) < 1e-3  # 64 probe positions
    assert 0 <= audit.charge_nats < 1e-6
    assert audit.places == run.tier.audit_positions
    assert audit.tokens == len(run.corpus.tokens("dev"))
    assert 0 < row.rare_bpb < 1
