"""FlashAttention: equal results on any kernel, the hint for a missing one, and one compiled graph."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from helpers.base.models import document_tokens, perturb, small_config  # noqa: E402

from base.model.attention import flash  # noqa: E402
from base.model.attention.flash import KERNELS, FlashAttention, causal_attention  # noqa: E402
from base.model.gpt import GPT  # noqa: E402
from base.model.layers import initialize  # noqa: E402


@pytest.fixture
def stub_flash():
    """A FlashAttention for the CPU on torch's own kernel; it gets the arguments that a GPU's would get."""

    def func(q, k, v, causal, deterministic):
        assert causal
        return causal_attention(q.float(), k.float(), v.float()).to(q.dtype)

    def varlen_func(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, causal, deterministic):
        assert torch.equal(cu_seqlens_q, cu_seqlens_k)
        assert cu_seqlens_q.diff().max() <= max_seqlen_q == max_seqlen_k
        parts = [
            func(q[None, first:last], k[None, first:last], v[None, first:last], causal, deterministic)[0]
            for first, last in zip(cu_seqlens_q[:-1].tolist(), cu_seqlens_q[1:].tolist(), strict=True)
            if first < last
        ]
        return torch.cat(parts)

    KERNELS["cpu"] = FlashAttention(3, func, varlen_func)
    yield
    del KERNELS["cpu"]


@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize("knobs", [{}, {"polar_positions": True}, {"differential": True}])
def test_any_kernel_gives_the_same_network(stub_flash, documents, knobs):
    config = small_config(attention={"document_attention": documents, **knobs}, data={"sequence_length": 96})
    tokens = document_tokens()
    model = GPT(config, torch.bfloat16)
    initialize(model, 1)
    perturb(model)
    actual = model.hidden(tokens)
    stub = KERNELS.pop("cpu")
    expected = model.hidden(tokens)
    KERNELS["cpu"] = stub
    torch.testing.assert_close(actual, expected, atol=0.05, rtol=0.05)


def test_a_hopper_gpu_without_its_kernel_gets_a_hint(monkeypatch, stub_flash):
    capability, cuda = (9, 0), torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)  # this machine may have no GPU
    assert "torch's own kernels, about 100 ms a step instead of 87" in flash.missing_kernel_hint(cuda)
    monkeypatch.setitem(KERNELS, "cuda", replace(KERNELS["cpu"], version=2))
    assert "FlashAttention 2" in flash.missing_kernel_hint(cuda)
    monkeypatch.setitem(KERNELS, "cuda", KERNELS["cpu"])
    assert flash.missing_kernel_hint(cuda) is None
    del KERNELS["cuda"]
    capability = (8, 0)
    assert flash.missing_kernel_hint(cuda) is None
    assert flash.missing_kernel_hint(torch.device("cpu")) is None


@pytest.mark.slow  # torch.compile's own start is half a minute
@pytest.mark.filterwarnings("ignore")
def test_a_forward_pass_compiles_as_one_graph(stub_flash):
    from base.presets import PRESETS

    config = PRESETS["challenge_pocket"]()
    model = GPT(config, torch.bfloat16)
    initialize(model, 1)
    tokens = torch.randint(2, 1024, (2, 64))
    whole = torch.compile(model.hidden, fullgraph=True, backend="eager")
    torch.testing.assert_close(whole(tokens), model.hidden(tokens))
    model.looping = False
    torch.testing.assert_close(whole(tokens), model.hidden(tokens))
