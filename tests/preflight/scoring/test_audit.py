"""Tests of the audit against scorers whose tampering is known, over a real socket."""

import numpy as np
import pytest
from helpers.scorers import VOCAB, Bigram

from common.errors import Refused
from preflight.scoring import positions


def test_a_correct_scorer_passes_and_each_loss_is_read_once(score_and_audit, tokens):
    losses, honesty = score_and_audit(Bigram(), tokens)
    assert len(losses) == len(tokens)
    assert np.allclose(losses, Bigram().observe(tokens), atol=1e-5)
    assert abs(honesty.gap_nats) < 1e-7
    assert honesty.charge_nats < 1e-7
    assert honesty.smooth_bound_nats < 3e-4  # systematic bias within the tolerance that 200 probes cannot exclude
    assert honesty.noise_nats == 0
    assert honesty.places == 200
    even = positions.EVEN / (positions.EVEN + positions.LOSS)  # without a reference
    assert (1 - even * honesty.rare_share) ** honesty.places == pytest.approx(0.01)  # detected with 99 %
    assert honesty.unread_share == honesty.unread_bound_nats == 0


def test_rounding_passes_and_stays_within_the_bound(score_and_audit, tokens):
    rng = np.random.default_rng(3)
    _, honesty = score_and_audit(Bigram(lambda loss, seen: max(loss + rng.normal(0, 3e-5), 0.0)), tokens)
    assert 0 < honesty.noise_nats < 1e-3
    assert 0 < honesty.charge_nats < 1e-5  # noise is charged for the bias that it could hide
    assert honesty.smooth_bound_nats < 4e-4


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_sparse_tampering_beyond_the_stated_share_is_detected(score_and_audit, tokens, share):
    """The bound states 2.7 % of tokens at 200 probes; 5 % must be detected, and is with this seed."""
    every = round(1 / share)
    with pytest.raises(Refused, match="at token") as caught:
        score_and_audit(Bigram(lambda loss, seen: 0.5 * loss if seen % every == 0 else loss), tokens)
    assert caught.value.verdict == "dishonest"
    assert "largest terms" in str(caught.value)


def test_an_unrepeatable_scorer_is_refused(score_and_audit, tokens):
    rng = np.random.default_rng(4)
    with pytest.raises(Refused, match="same cuts"):
        score_and_audit(Bigram(lambda loss, seen: max(loss + rng.normal(0, 0.1), 0.0)), tokens)


def test_noise_does_not_excuse_a_wrong_normalizer(score_and_audit, tokens):
    """A jitter within the noise limit must not let distributions sum to more than one."""

    class Generous(Bigram):
        def predict(self):
            return super().predict() + 0.004

    rng = np.random.default_rng(5)
    with pytest.raises(Refused, match="sum to"):
        score_and_audit(
            Generous(lambda loss, seen: max(loss - 0.004 + (rng.normal(0, 1e-3) if seen == 3 else 0), 0.0)), tokens
        )


def test_adaptive_but_causal_scorers_pass(score_and_audit, tokens):
    """A scorer may learn from what it has scored: it must be causal, not stateless."""

    class Learning(Bigram):
        def reset(self):
            super().reset()
            self.counts = np.ones((VOCAB, VOCAB))

        def observe(self, tokens):
            losses = []
            for token in tokens.tolist():
                losses.append(-self.predict()[token])
                self.counts[self.last, token] += 1
                self.last = token
            return np.array(losses)

        def predict(self):
            return np.log(self.counts[self.last] / self.counts[self.last].sum())

    losses, honesty = score_and_audit(Learning(), tokens)
    assert losses[-500:].mean() < np.log(VOCAB) * 1.1
    assert honesty.charge_nats < 1e-7


@pytest.mark.parametrize("shaved", [9.9e-4, 3e-4, 2e-5])
def test_a_systematic_bias_within_the_tolerance_is_charged(score_and_audit, tokens, shaved):
    """1e-3 nats off every loss would be half of what a record improves by."""
    losses, honesty = score_and_audit(Bigram(lambda loss, seen: max(loss - shaved, 0.0)), tokens)
    assert honesty.gap_nats == pytest.approx(shaved, rel=0.3)
    true = Bigram().observe(tokens).mean()
    assert losses.mean(dtype=np.float64) + honesty.charge_nats >= true - 1e-7


def test_noise_on_the_repeated_stretch_alone_gains_nothing(score_and_audit, tokens):
    """It widens the tolerance, but the bias that it hides is charged all the same."""

    class Faker(Bigram):
        def reset(self):
            super().reset()
            self.readings = getattr(self, "readings", 0) + 1

        def observe(self, tokens):
            last = self.readings > 2  # first pass, second pass, and the stretch once more
            noise = 3e-4 * (-1) ** np.arange(len(tokens)) if last else 0.0
            return np.maximum(super().observe(tokens) + noise, 0.0)

    faker = Faker(lambda loss, seen: max(loss - 1.5e-3, 0.0))
    losses, honesty = score_and_audit(faker, tokens)
    assert honesty.noise_nats >= 3e-4
    assert losses.mean() + honesty.charge_nats >= Bigram().observe(tokens).mean() - 1e-7


def test_a_normalizer_within_its_tolerance_is_charged(score_and_audit, tokens):
    """Probabilities that sum to 1.00009 give every token a loss that is too low."""

    class Generous(Bigram):
        def predict(self):
            return super().predict() + 9e-5

    losses, honesty = score_and_audit(Generous(lambda loss, seen: max(loss - 9e-5, 0.0)), tokens)
    assert honesty.gap_nats == pytest.approx(9e-5, rel=0.05)
    assert losses.mean() + honesty.charge_nats >= Bigram().observe(tokens).mean() - 1e-6


def sparse_tamperer(share):
    """Return a scorer that claims loss 0 on a random share of tokens, and the mask of those tokens."""
    tampered = np.random.default_rng(6).random(4000) < share
    return Bigram(lambda loss, seen: 0.0 if tampered[seen] else loss), tampered


def test_tampering_is_detected_in_proportion_to_its_share_of_the_gain(score_and_audit, tokens):
    """Three tampered tokens in 4,000 are the whole gain over the incumbent: uniform probes would mostly miss them."""
    reference = Bigram().observe(tokens).astype(np.float32)
    scorer, tampered = sparse_tamperer(8e-4)
    assert 1 <= tampered[1:].sum() <= 6
    with pytest.raises(Refused, match="at token"):
        score_and_audit(scorer, tokens, probes=20, reference=reference)
    missed = 0
    for seed in range(12):
        try:
            score_and_audit(sparse_tamperer(8e-4)[0], tokens, probes=20, seed=seed)
        except Refused:
            continue
        missed += 1
    assert missed >= 9


def test_the_bound_covers_what_a_prefix_leaves_unread(score_and_audit, tokens):
    reference = (Bigram().observe(tokens) + 0.1).astype(np.float32)
    tamperer = Bigram(lambda loss, seen: 0.5 * loss if seen > 1500 else loss)
    losses, honesty = score_and_audit(tamperer, tokens, reference=reference, prefix=1000)
    assert honesty.tokens == 1000
    assert honesty.unread_share == 0.75
    gain = np.maximum(reference - losses, 0.0)
    assert honesty.unread_bound_nats == pytest.approx(gain[1000:].sum() / 3999, rel=1e-5)
    with pytest.raises(Refused):
        score_and_audit(tamperer, tokens, reference=reference)
