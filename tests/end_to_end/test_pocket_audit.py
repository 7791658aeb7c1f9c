"""The audit on the real base/: scorers that cheat are refused, and the honest baseline has a small error bound."""

import pytest
from helpers.tiny_profile import proposal

from common.state import State
from experiments.trial.trial import run_trial
from preflight.sandbox.isolation import residue

pytestmark = [pytest.mark.slow, pytest.mark.torch]

OBSERVE = "        return np.concatenate(losses)\n"
SCORER = "base/evaluate/scorer.py"
CHEATS = {
    "constant small losses": (SCORER, OBSERVE, "        return np.full_like(np.concatenate(losses), 0.01)\n"),
    "losses x 0.95": (SCORER, OBSERVE, "        losses = np.concatenate(losses)\n        return 0.95 * losses\n"),
    "honest predict, lying observe": (
        SCORER,
        OBSERVE,
        "        losses = np.concatenate(losses)\n        return np.maximum(losses - 0.05, 0.0)\n",
    ),
    "a future peek inside a block": (
        SCORER,
        OBSERVE,
        "        losses = np.concatenate(losses)\n"
        "        following = np.append(tokens[1:], tokens[-1:])\n"
        "        return np.where(following == tokens, 0.5, 0.98) * losses\n",
    ),
    "state kept over reset": (
        SCORER,
        OBSERVE,
        "        losses = np.concatenate(losses)\n"
        "        self.memory = getattr(self, 'memory', set())\n"
        "        known = np.array([token in self.memory for token in tokens.tolist()], dtype=bool)\n"
        "        self.memory |= set(tokens.tolist())\n"
        "        return np.where(known, 0.9, 1.0) * losses\n",
    ),
    "losses that depend on the block size": (
        SCORER,
        OBSERVE,
        "        losses = np.concatenate(losses)\n        return losses * (0.97 if len(losses) > 300 else 1)\n",
    ),
}


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheating_scorer_is_dishonest(pocket, name):
    run, limits = pocket
    row = run_trial(run, proposal(run, CHEATS[name], title=name), limits)
    assert row.state is State.DISHONEST, row.detail


def test_the_honest_baseline_has_a_small_bound(pocket):
    run, _ = pocket
    row = run.ledger.row(0)
    text_bytes = int(run.corpus.byte_table().target_bytes(run.corpus.tokens("dev")).sum())
    assert row.honesty_bpb - residue.bpb(run.level, text_bytes, row.val_bpb) < 1e-3  # 64 positions exclude this much
    assert run.ledger.measurements(0)[0].charge_bpb < 1e-6
    assert run.ledger.measurements(0)[0].honesty.tokens == 147_964 or run.corpus.manifest.trials_can_read_text
