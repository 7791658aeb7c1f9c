"""Document masks: a document is read as if alone, and segment starts agree with the mask."""

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.models import assert_close, document_tokens, initialized_model, perturb, small_config  # noqa: E402

from base.model.attention.document_mask import (  # noqa: E402
    BOS,
    MIN_MEAN_TOKENS,
    cumulative_lengths,
    document_ids,
    document_mask,
)
from base.model.attention.flash import causal_attention  # noqa: E402

POSITIONS = {
    "rope": {},
    "partial": {"rope_dims": 4},
    "ntk": {"rope_scaling": "ntk", "rope_train_length": 32},
    "yarn": {"rope_scaling": "yarn", "rope_train_length": 32},
    "pope": {"polar_positions": True},
    "differential": {"differential": True},
}


@pytest.mark.parametrize("knobs", POSITIONS.values(), ids=POSITIONS)
def test_a_document_is_read_as_if_alone(knobs):
    """Positions enter as distances only, so a document in the middle of a row is a document at its start."""
    config = small_config(attention={"document_attention": True, **knobs}, data={"sequence_length": 96})
    model, tokens = perturb(initialized_model(config)), document_tokens()
    together, alone = model.hidden(tokens), [model.hidden(part) for part in tokens.split((10, 50, 36), dim=1)]
    assert_close(together, torch.cat(alone, dim=1), atol=1e-4)
    mixed = perturb(initialized_model(small_config(attention=knobs, data={"sequence_length": 96}))).hidden(tokens)
    assert not torch.allclose(mixed[:, 10:], torch.cat(alone[1:], dim=1), atol=1e-2)


def test_segment_starts_agree_with_the_mask():
    tokens = document_tokens()
    ids = document_ids(tokens)
    starts = cumulative_lengths(ids)
    assert len(starts) == 2 * (96 // MIN_MEAN_TOKENS + 1) + 1
    assert starts[:6].tolist() == [0, 10, 60, 96, 106, 156]
    assert set(starts[6:].tolist()) == {192}
    q, k, v = (torch.randn(2, 96, 2, 8) for _ in range(3))
    masked = causal_attention(q, k, v, document_mask(ids)).flatten(0, 1)
    for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        if first < last:
            part = causal_attention(*(x.flatten(0, 1)[None, first:last] for x in (q, k, v)))[0]
            assert_close(masked[first:last], part)


def test_many_short_documents_share_the_last_segment_of_their_row():
    tokens = torch.full((2, 96), 5)
    tokens[:, ::2] = BOS
    ids = document_ids(tokens)
    starts = cumulative_lengths(ids)
    assert ids.max() == 96 // MIN_MEAN_TOKENS
    assert 96 in starts.tolist()  # no segment runs over the end of a row
    segments = [
        ids.flatten()[a:b].unique() for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True) if a < b
    ]
    assert all(len(ids) == 1 for ids in segments)
