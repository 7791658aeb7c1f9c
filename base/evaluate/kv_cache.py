"""Keys and values of a window's tokens, kept so that later tokens of the same window are read alone; TurboQuant."""

import torch
from torch import Tensor

from base.model.gpt import GPT
from base.runtime import generator

# Standard deviations at which the best uniform grid of 2 to 8 bits ends, for a normal channel (Max 1960)
ENDS = {2: 1.49, 3: 2.05, 4: 2.51, 5: 2.91, 6: 3.28, 7: 3.6, 8: 3.93}
ROTATION_SEED = 0


class TurboQuant:
    """Keys (B, T, K, Dh) on a grid: a random rotation, a norm per key, then `bits` a channel (arXiv 2504.19874).

    The rotation makes the channels of any key alike and nearly normal, so one uniform grid serves all.
    """

    def __init__(self, bits: int, head_dim: int):
        if bits not in ENDS:
            raise ValueError(f"got kv_bits {bits}, expected 0 or 2 to 8")
        drawn = torch.randn(head_dim, head_dim, generator=generator(ROTATION_SEED, "TurboQuant"))
        self.rotation, self.levels, self.span = torch.linalg.qr(drawn).Q, 2**bits - 1, 2.0 * ENDS[bits]

    def encode(self, k: Tensor) -> tuple[Tensor, Tensor]:
        """Codes uint8 (B, T, K, Dh) and norms fp16 (B, T, K, 1)."""
        rotated = k.float() @ self.rotation.to(k.device)
        norm = rotated.square().mean(dim=-1, keepdim=True).sqrt().half()
        unit = rotated / norm.float().clamp_min(1e-6) / self.span + 0.5
        return (unit * self.levels).round().clamp(0, self.levels).to(torch.uint8), norm

    def decode(self, codes: Tensor, norm: Tensor, dtype: torch.dtype) -> Tensor:
        rotated = (codes.float() / self.levels - 0.5) * self.span * norm.float()
        return (rotated @ self.rotation.T.to(codes.device)).to(dtype)

    def __call__(self, k: Tensor) -> Tensor:
        return self.decode(*self.encode(k), k.dtype)


def quantize_keys(model: GPT, bits: int) -> None:
    """Let every attention of a model read its keys from the grid, in windows as in the cache."""
    for block in model.blocks:
        block.attention.quantize_keys = TurboQuant(bits, block.attention.key_dim)


class KeyValueCache:
    """Keys and values by the order in which a forward pass asks for them; one row.

    Keys with a quantizer are kept as its codes. `length` tokens are known.
    """

    def __init__(self):
        self.length, self.asked = 0, 0
        self.keys: list[tuple[Tensor, ...]] = []
        self.values: list[Tensor] = []

    def extend(self, k: Tensor, v: Tensor, quantizer: TurboQuant | None) -> tuple[Tensor, Tensor]:
        """Add this layer's keys and values (1, n, K, Dh) to the known; return all (1, length + n, K, Dh)."""
        added, at = (k,) if quantizer is None else quantizer.encode(k), self.asked
        if at == len(self.keys):
            self.keys.append(added)
            self.values.append(v)
        else:
            self.keys[at] = tuple(torch.cat(pair, dim=1) for pair in zip(self.keys[at], added, strict=True))
            self.values[at] = torch.cat((self.values[at], v), dim=1)
        self.asked += 1
        keys = self.keys[at][0] if quantizer is None else quantizer.decode(*self.keys[at], k.dtype)
        return keys, self.values[at]

    def finish(self, length: int) -> None:
        """End a forward pass, after which `length` tokens are known."""
        self.length, self.asked = length, 0
