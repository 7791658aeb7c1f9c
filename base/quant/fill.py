"""Fill the byte budget: the clips, in standard deviations, are scaled until the artifact has the size asked for.

A wider clip makes integers smaller and the file with them (SDClip, #1394). How much follows from the integers' entropy
alone, and from one real packing that says what the coder makes of it, because packing takes seconds of the clock. What
is above the cap in the end, `pack` takes off by pruning, so the aim is a little above it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from base.compress import artifact, streams
from base.compress.container import Arrays
from base.compress.pruning import codecs_of
from base.config import Config, Quant
from base.quant.quantize import Matrix, Quantized, quantize, quantize_all

AIM = 1.002  # of the target
FACTORS = (0.25, 4.0)  # by which clips may be scaled
BISECTIONS = 14


def quantize_to(
    matrices: Sequence[Matrix],
    config: Config,
    arrays_of: Callable[[list[Quantized]], Arrays],
    meta: Mapping,
    target_bytes: int,
    log: Callable[[str], None],
) -> list[Quantized]:
    """Quantize; with a target, scale the clips so that the artifact comes out just above `target_bytes`."""
    found = quantize(matrices, config.quant, log)
    if not target_bytes:
        return found
    nearest, aim = Nearest(matrices, config.quant, found), AIM * target_bytes
    arrays = arrays_of(found)
    coded = artifact.encode(arrays, codecs_of(config.pack))
    size = len(artifact.assemble(dict(meta), arrays, coded))
    others = (streams.SCALES_KIND, streams.FLOATS_KIND)
    integers = sum(len(stream.blob) for stream in coded if stream.kind not in others)
    coder = integers / entropy_bytes(found)  # what it makes of a byte of entropy
    log(f"fill: {size:,} bytes with the clips given, aim {aim:,.0f}")
    wanted, factor = (aim - size + integers) / coder, 1.0
    for _ in range(2):  # rounding with feedback has a little more entropy than rounding to nearest, by how much varies
        factor = nearest.factor(wanted * nearest.entropy(factor) / entropy_bytes(found))
        found = quantize([scaled(matrix, factor) for matrix in matrices], config.quant, log)
        log(f"fill: clips x {factor:.4f}: {size - integers + coder * entropy_bytes(found):,.0f} bytes expected")
    return found


def entropy_bytes(found: Sequence[Quantized]) -> float:
    return sum(each.entropy_bytes for each in found)


def scaled(matrix: Matrix, factor: float) -> Matrix:
    return replace(matrix, clip_sigmas=factor * matrix.clip_sigmas)


class Nearest:
    """The entropy of matrices rounded to nearest, by the factor on their clips: cheap, and nearly that of GPTQ."""

    def __init__(self, matrices: Sequence[Matrix], quant: Quant, found: Sequence[Quantized]):
        bits = {each.matrix.name: each.matrix.bits for each in found}
        needs_hessian = quant.clip_row_share > 0
        self.matrices = [
            replace(matrix, bits=bits[matrix.name], hessian=matrix.hessian if needs_hessian else None)
            for matrix in matrices
        ]
        self.quant = replace(quant, rounding="nearest", clip_search="none")

    def entropy(self, factor: float) -> float:
        return entropy_bytes(quantize_all([scaled(matrix, factor) for matrix in self.matrices], self.quant))

    def factor(self, wanted_bytes: float) -> float:
        """The factor at which the entropy is so large; it falls as clips widen."""
        low, high = FACTORS
        for _ in range(BISECTIONS):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if self.entropy(middle) > wanted_bytes else (low, middle)
        return high
