"""Test-time training against slow twins: one document or chunk at a time, with torch's own optimizers."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import torch.nn.functional as F  # noqa: E402
from helpers.base.models import perturbed_model, randn, small_config  # noqa: E402
from helpers.base.scorers import small_scorer, text  # noqa: E402

from base.evaluate.learning.adapters import Adapters  # noqa: E402
from base.evaluate.learning.optimizers import SGD, RowAdamW, cosine  # noqa: E402

TOKENS = text(900, seed=3)
STRIDE, LENGTH = 16, 64


def window_losses(model, tokens, first, last):
    """Losses of positions `first` to before `last`, each by a window of its own group."""
    losses = []
    for position in range(first, min(last, len(tokens) - 1)):
        end = (position // STRIDE + 1) * STRIDE
        context = torch.from_numpy(tokens[max(0, end - LENGTH) : position + 1].astype(np.int64))[None]
        with torch.no_grad():
            logp = model.logits(model.hidden(context))[0, -1].log_softmax(-1)
        losses.append(-logp[int(tokens[position + 1])].item())
    return losses


def test_sgd_over_chunks_is_what_a_loop_with_torchs_sgd_does():
    knobs = {"ttt": "sgd", "ttt_chunk": 256, "ttt_epochs": 2, "ttt_lr": 0.02, "ttt_horizon": 4, "ttt_batch": 2}
    model = perturbed_model(small_config()).eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    expected = [np.log(97)]
    for chunk in range(4):
        begin = 256 * chunk
        expected += window_losses(model, TOKENS, begin, begin + 256)
        if begin + 256 >= len(TOKENS):
            break
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * cosine(chunk, 4)
        rows = torch.from_numpy(TOKENS[begin : begin + 257].astype(np.int64))
        inputs, targets = rows[:-1].view(4, 64), rows[1:].view(4, 64)
        for pair in (slice(0, 2), slice(2, 4), slice(0, 2), slice(2, 4)):
            optimizer.zero_grad()
            F.cross_entropy(model.logits(model.hidden(inputs[pair])).flatten(0, 1), targets[pair].flatten()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    assert np.allclose(small_scorer(**knobs).observe(TOKENS), expected, atol=2e-4)


def test_adapters_in_documents_are_what_one_document_after_another_gives():
    """Scored chunk by chunk inside the document, then one step of torch's AdamW on that chunk; afresh in the next."""
    knobs = {"ttt": "documents", "ttt_chunk": 16, "ttt_lr": 0.01, "ttt_rank": 4, "ttt_targets": "q,mlp,head"}
    model = perturbed_model(small_config()).eval()
    adapters = Adapters(model, "q,mlp,head", ":", 1, 4, 1.0)
    starts = sorted({0, *np.flatnonzero(TOKENS == 1).tolist()})
    expected = np.full(len(TOKENS), np.log(97))
    for start, end in zip(starts, [*starts[1:], len(TOKENS) - 1], strict=True):
        adapters.reset(slice(None))
        optimizer = torch.optim.AdamW(adapters.parameters, lr=0.01, betas=(0.0, 0.99), weight_decay=0.1)
        for begin in range(start, end, 16):
            stop = min(begin + 16, end)
            window = max(start, begin + 16 - LENGTH)
            rows = torch.from_numpy(TOKENS[window : stop + 1].astype(np.int64))[None]
            logits = model.logits(model.hidden(rows[:, :-1]))[0, begin - window :]
            losses = F.cross_entropy(logits, rows[0, begin - window + 1 :], reduction="none")
            expected[begin + 1 : stop + 1] = losses.detach().numpy()
            if stop == begin + 16:
                optimizer.zero_grad()
                losses.mean().backward()
                torch.nn.utils.clip_grad_norm_(adapters.parameters, 1.0)
                optimizer.step()
    scorer = small_scorer(**knobs, ttt_weight_decay=0.1)
    for blocks in ([900], [3, 40, 300], [450]):
        scorer.reset()
        found, at = [], 0
        for size in [*blocks, 900]:
            found.append(scorer.observe(TOKENS[at : at + size]))
            at += size
        assert np.allclose(np.concatenate(found), expected, atol=2e-4)


@pytest.mark.parametrize("name", ["sgd", "lora", "documents"])
def test_a_chunk_is_scored_before_it_is_learnt_from(name):
    """Up to the end of the first chunk the losses are those of the artifact; then they are not."""
    chunk = {"sgd": 128, "lora": 128, "documents": 32}[name]
    knobs = {"ttt": name, "ttt_chunk": chunk, "ttt_lr": 0.05, "ttt_targets": "q,v,head", "ttt_batch": 1}
    tokens = np.where(TOKENS == 1, 2, TOKENS)[: 2 * chunk + 1].astype(np.uint16)
    learning, plain = (small_scorer(**knobs).observe(tokens) for knobs in (knobs, {"eval_stride": 1}))
    plain = plain if name == "documents" else small_scorer().observe(tokens)
    same = min(chunk, 49)  # a document's first windows hold all of it
    assert np.allclose(learning[: same + 1], plain[: same + 1], atol=1e-4)
    if name != "documents":
        assert np.allclose(learning[: chunk + 1], plain[: chunk + 1], atol=1e-5)
    assert np.abs(learning[chunk + 1 :] - plain[chunk + 1 :]).max() > 1e-2


def test_rows_of_adamw_are_independent_optimizers():
    start, steps = randn(3, 5, 4), [randn(3, 5, 4, seed=seed) for seed in range(1, 7)]
    rates = torch.tensor(
        [[0.1, 0.0, 0.1], [0.1, 0.2, 0.0], [0.0, 0.2, 0.1], [0.1, 0.0, 0.0], [0.1, 0.2, 0.1], [0.0] * 3]
    )
    together = start.clone()
    optimizer = RowAdamW([together], (0.9, 0.99), 0.1, 2.0)
    for gradient, rate in zip(steps, rates, strict=True):
        optimizer.step([gradient], rate)
    for row in range(3):
        alone = torch.nn.Parameter(start[row].clone())
        single = torch.optim.AdamW([alone], betas=(0.9, 0.99), weight_decay=0.1)
        for gradient, rate in zip(steps, rates[:, row].tolist(), strict=True):
            if rate:
                alone.grad = gradient[row].clone()
                torch.nn.utils.clip_grad_norm_([alone], 2.0)
                single.param_groups[0]["lr"] = rate
                single.step()
        assert torch.allclose(together[row], alone, atol=1e-5)


def test_sgd_is_torchs():
    ours, theirs = randn(4, 3), torch.nn.Parameter(randn(4, 3))
    optimizer, reference = SGD([ours], 0.9, 1.0), torch.optim.SGD([theirs], lr=0.1, momentum=0.9)
    for seed in range(5):
        gradient = randn(4, 3, seed=seed + 1)
        optimizer.step([gradient], 0.1)
        theirs.grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_([theirs], 1.0)
        reference.step()
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_polyak_scores_with_the_mean_of_the_steps():
    knobs = {"ttt": "lora", "ttt_chunk": 128, "ttt_lr": 0.01, "ttt_polyak": 0.5}
    scorer = small_scorer(**knobs)
    scorer.observe(TOKENS[:400])
    weights = scorer.learner.weights
    for mean, weight, adapter in zip(
        weights.means[::2], weights.parameters[::2], weights.adapters.adapters, strict=True
    ):
        assert adapter.active[0] is mean
        assert not torch.equal(mean, weight)


def test_phases_learn_from_the_documents_so_far_and_a_reset_takes_it_back():
    knobs = {"ttt": "documents", "ttt_chunk": 16, "ttt_lr": 1e-9, "ttt_phases": "2,5", "ttt_phase_lr": 0.05}
    scorer, plain = small_scorer(**knobs), small_scorer(**{**knobs, "ttt_phases": ""})
    before = [weight.clone() for weight in scorer.model.parameters()]
    losses, usual = scorer.observe(TOKENS), plain.observe(TOKENS)
    second_end = np.flatnonzero(TOKENS == 1)[1 + (TOKENS[0] == 1)]  # the third document's BOS
    changed = np.abs(losses - usual) > 1e-3
    assert not changed[: second_end + 1].any()
    assert changed[second_end + 1 :].mean() > 0.5
    scorer.reset()
    assert all(torch.equal(now, then) for now, then in zip(scorer.model.parameters(), before, strict=True))
