"""Compare the coder of integers with general-purpose codecs and lrzip on trained weights, role by role.

.venv/bin/python -m dev.benchmarks.artifact.compression checkpoint.bin

The checkpoint is what `train` leaves; dev/benchmarks/compression.md says with which knobs.
"""

import lzma
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated

import brotli
import numpy as np
import torch
import typer
import zstandard

from base.compress import container, mixing, streams
from base.config import Config
from base.export import with_architecture
from base.model.gpt import GPT
from base.model.layers import initialize
from base.quant import grids

GRIDS = ((6, 12.5), (6, 0.0), (5, 12.5), (5, 0.0))  # bits, and standard deviations at which a row's grid ends
Array = np.ndarray
Groups = dict[str, tuple[Array, Array]]  # role -> integers (count, rows, columns), scales (count, rows)
LRZIP = ("lrzip", "-z", "-L", "9", "-q", "-f")


def main(checkpoint: Annotated[Path, typer.Argument(help="checkpoint.bin of a training")]) -> None:
    """Print Markdown tables."""
    meta, arrays = container.load(checkpoint.read_bytes())
    weights = {name: array for name, array in arrays.items() if array.ndim == 2 and ":" not in name}
    model = GPT(with_architecture(meta, Config()))
    initialize(model, 1337)
    untrained = {name: weight.detach().numpy() for name, weight in model.named_parameters() if name in weights}
    count = sum(array.size for array in weights.values())
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores; {count:,} parameters in matrices.\n")
    print("| weights | excess kurtosis | spread of rows | spread of columns |\n|---|---|---|---|")
    for name, group in (("untrained", untrained), ("trained", weights)):
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in moments(group))} |")
    for bits, sigmas in GRIDS:
        groups = quantized(weights, bits, sigmas)
        end = f"{sigmas:g} standard deviations" if sigmas else "the largest weight"
        print(f"\n**int{bits}, grid to {end}**\n")
        print("| codec | bytes | B/param | of lrzip | s to pack | s to unpack |\n|---|---|---|---|---|---|")
        rows = {name: weighed(groups, codec) for name, codec in CODECS.items()}
        reference = rows["lrzip -z -L 9, per role"][0]
        for name, (size, packing, unpacking) in rows.items():
            times = " | ".join("" if value is None else f"{value:.1f}" for value in (packing, unpacking))
            print(f"| {name} | {size:,.0f} | {size / count:.4f} | {size / reference:.4f} | {times} |", flush=True)


def moments(weights: dict[str, Array]) -> tuple[float, float, float]:
    """Mean excess kurtosis of the matrices, and relative spread of their rows' and columns' standard deviations."""
    found = []
    for matrix in weights.values():
        if matrix.std() > 0:
            z = (matrix - matrix.mean()) / matrix.std()
            spreads = [widths.std() / widths.mean() for widths in (matrix.std(axis=1), matrix.std(axis=0))]
            found.append([(z**4).mean() - 3.0, *spreads])
    kurtosis, rows, columns = np.mean(found, axis=0)
    return float(kurtosis), float(rows), float(columns)


def quantized(weights: dict[str, Array], bits: int, sigmas: float) -> Groups:
    """Round to nearest; matrices of one role are stacked."""
    found: dict[str, list[tuple[Array, Array]]] = {}
    for name, weight in weights.items():
        integers, scales = grids.quantize(torch.from_numpy(weight.copy()), bits, sigmas)
        found.setdefault(streams.role(name), []).append((integers.numpy(), scales.numpy()))
    return {role: (np.stack([q for q, _ in pairs]), np.stack([s for _, s in pairs])) for role, pairs in found.items()}


Codec = Callable[[Array, Array], tuple[float, Callable[[], object] | None]]


def weighed(groups: Groups, codec: Codec) -> tuple[float, float | None, float | None]:
    """Bytes of all roles, and the seconds of packing and of unpacking, if it unpacks."""
    size, packing, unpacking = 0.0, 0.0, 0.0
    for integers, scales in groups.values():
        started = time.perf_counter()
        packed, unpack = codec(integers, scales)
        size, packing = size + packed, packing + time.perf_counter() - started
        if unpack is None:
            continue
        started = time.perf_counter()
        unpack()
        unpacking += time.perf_counter() - started
    return size, packing, unpacking or None


def entropy(values: Array) -> float:
    counts = np.bincount(values.ravel().astype(np.int64) + 128).astype(np.float64)
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8)


def row_conditional(integers: Array, scales: Array) -> tuple[float, None]:
    """Entropy given the row, by an adaptive count (Krichevsky and Trofimov), so that learning it is paid for."""
    largest = int(np.abs(integers.astype(np.int16)).max())
    total = 0.0
    for row in integers.reshape(-1, integers.shape[-1]):
        counts = np.bincount(row.astype(np.int64) + largest, minlength=2 * largest + 1).astype(np.float64)
        shared = _shared_counts(integers, largest)
        prior = 64.0 * shared / shared.sum()
        total += _polya_bits(counts, prior) / 8
    return total, None


_SHARED: dict[int, Array] = {}


def _shared_counts(integers: Array, largest: int) -> Array:
    key = id(integers)
    if key not in _SHARED:
        _SHARED.clear()
        _SHARED[key] = np.bincount(integers.ravel().astype(np.int64) + largest, minlength=2 * largest + 1) + 0.5
    return _SHARED[key]


def _polya_bits(counts: Array, prior: Array) -> float:
    """Bits of a sequence with these counts, each symbol predicted from the ones before and a prior count."""
    log_gamma = torch.lgamma
    values = [torch.from_numpy(array) for array in (counts + prior, prior)]
    top = float((log_gamma(values[0]) - log_gamma(values[1])).sum())
    whole = [torch.tensor(array.sum()) for array in (prior, counts + prior)]
    return -(top + float(log_gamma(whole[0]) - log_gamma(whole[1]))) / float(np.log(2.0))


def transposed(integers: Array) -> bytes:
    return integers.transpose(0, 2, 1).tobytes()


def general(compress: Callable[[bytes], bytes], decompress: Callable[[bytes], bytes]) -> Codec:
    """The better of plain and transposed bytes."""

    def codec(integers: Array, _: Array) -> tuple[float, Callable[[], object]]:
        best = min((compress(data) for data in (integers.tobytes(), transposed(integers))), key=len)
        return len(best), lambda: decompress(best)

    return codec


def shuffled_brotli(integers: Array, _: Array) -> tuple[float, None]:
    """#1179: all even bytes, then all odd ones, whatever they are."""
    data = integers.tobytes()
    return len(brotli.compress(data[::2] + data[1::2], quality=11, lgwin=24)), None


def lrzip(*options: str) -> Codec:
    def codec(integers: Array, _: Array) -> tuple[float, Callable[[], object]]:
        if shutil.which("lrzip") is None:
            raise SystemExit("lrzip is not installed: apt-get install lrzip")
        with tempfile.TemporaryDirectory() as folder:
            plain, packed = Path(folder, "plain"), Path(folder, "packed.lrz")
            plain.write_bytes(transposed(integers))
            quiet = {"check": True, "capture_output": True}
            subprocess.run([*LRZIP, *options, "-o", str(packed), str(plain)], **quiet)  # type: ignore[call-overload]
            content = packed.read_bytes()

        def unpack() -> None:
            with tempfile.TemporaryDirectory() as folder:
                stored = Path(folder, "packed.lrz")
                stored.write_bytes(content)
                command = ["lrzip", "-d", "-q", "-f", "-o", str(Path(folder, "plain")), str(stored)]
                subprocess.run(command, check=True, capture_output=True)

        return len(content), unpack

    return codec


def mix(integers: Array, scales: Array) -> tuple[float, Callable[[], object]]:
    levels = mixing.scale_levels(scales.ravel())
    forms = {False: integers, True: np.ascontiguousarray(integers.transpose(0, 2, 1))}
    turned, blob = min(
        ((turned, mixing.encode(values, levels, turned)) for turned, values in forms.items()), key=lambda x: len(x[1])
    )
    return len(blob), lambda: mixing.decode(blob, forms[turned].shape, levels, turned)


CODECS: dict[str, Codec] = {
    "order-0 entropy, per role": lambda integers, _: (entropy(integers), None),
    "entropy given the row": row_conditional,
    "brotli-11 + byte shuffle": shuffled_brotli,
    "brotli-11": general(lambda data: brotli.compress(data, quality=11, lgwin=24), brotli.decompress),
    "zstd-22": general(zstandard.ZstdCompressor(level=22).compress, zstandard.ZstdDecompressor().decompress),
    "lzma-9e": general(lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME), lzma.decompress),
    "lrzip -z -L 9, per role": lrzip(),
    "lrzip -z -L 9 -T, per role": lrzip("-T"),
    "mix (base/native.py)": mix,
}

if __name__ == "__main__":
    typer.run(main)
