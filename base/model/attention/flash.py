"""The attention function of the whole tree, on the best kernel available: FlashAttention 3, 2, or torch's own."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from base.model.attention.document_mask import cumulative_lengths, document_mask

HOPPER = (9, 0)


@dataclass(frozen=True)
class FlashAttention:
    """An installed FlashAttention: its version and its functions for equal and for varying lengths."""

    version: int
    func: Callable
    varlen_func: Callable


# By type of device; filled before anything is compiled, for torch.compile stops at an import inside a forward pass.
KERNELS: dict[str, FlashAttention] = {}


def load_kernels(device: torch.device) -> None:
    """Import the best FlashAttention that is installed and runs on `device`; version 3 runs on Hopper alone."""
    if device.type != "cuda":
        return
    capability = torch.cuda.get_device_capability(device)
    if capability >= (8, 0):
        with suppress(ModuleNotFoundError):
            from flash_attn import flash_attn_func, flash_attn_varlen_func

            KERNELS[device.type] = FlashAttention(2, flash_attn_func, flash_attn_varlen_func)
    if capability == HOPPER:
        with suppress(ModuleNotFoundError):
            from flash_attn_interface import flash_attn_func, flash_attn_varlen_func

            KERNELS[device.type] = FlashAttention(3, flash_attn_func, flash_attn_varlen_func)


def missing_kernel_hint(device: torch.device) -> str | None:
    """Return the log line for a Hopper GPU that runs without FlashAttention 3."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) != HOPPER:
        return None
    flash = KERNELS.get(device.type)
    if flash and flash.version == 3:
        return None
    fallback = "FlashAttention 2" if flash else "torch's own kernels"
    return f"no FlashAttention 3: attention runs on {fallback}, about 100 ms a step instead of 87 on 8xH100; make setup"


def document_layout(ids: Tensor) -> Tensor:
    """Document ids (B, T) as `causal_attention` takes them: segment starts, or a mask without a varlen kernel."""
    return cumulative_lengths(ids) if ids.device.type in KERNELS else document_mask(ids)


def causal_attention(q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None = None) -> Tensor:
    """Causal attention with grouped kv heads: q (B, T, H, Dq), k (B, T, K, Dq), v (B, T, K, Dv) -> (B, T, H, Dv).

    Query head h reads kv head h // (H / K); scores are scaled by 1/sqrt(Dq). `documents` keeps a token inside its own
    document: `document_layout`, or `document_mask` if Dq differs from Dv, which only torch's own kernels take. Queries
    of the last tokens alone come with their rows of that mask.
    """
    flash = KERNELS.get(q.device.type)
    if flash and q.dtype == torch.bfloat16 and q.size(-1) == v.size(-1) and q.size(1) == k.size(1):
        return flash_attention(flash, q, k, v, documents)
    groups = q.size(2) // k.size(2)
    if groups > 1:
        k, v = k.repeat_interleave(groups, dim=2), v.repeat_interleave(groups, dim=2)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=documents, is_causal=documents is None)
    return y.transpose(1, 2)


def flash_attention(flash: FlashAttention, q: Tensor, k: Tensor, v: Tensor, starts: Tensor | None) -> Tensor:
    """The same by FlashAttention, with the arguments that versions 2 and 3 share."""
    options = {"causal": True, "deterministic": torch.are_deterministic_algorithms_enabled()}
    if starts is None:
        y = flash.func(q, k, v, **options)
        return y[0] if isinstance(y, tuple) else y
    rows, length = q.shape[:2]
    y = flash.varlen_func(
        *(x.flatten(0, 1) for x in (q, k, v)),
        cu_seqlens_q=starts,
        cu_seqlens_k=starts,
        max_seqlen_q=length,
        max_seqlen_k=length,
        **options,
    )
    return (y[0] if isinstance(y, tuple) else y).unflatten(0, (rows, length))
