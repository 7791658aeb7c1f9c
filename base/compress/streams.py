"""How the arrays of weights.bin become streams: alike arrays together, each stream in its smallest form."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from base.compress import codecs, forms, mixing
from base.compress.container import DTYPES, Arrays, Listing, array_bytes
from base.compress.errors import FormatError

INTEGERS, SCALES = ":q", ":scale"  # suffixes of a matrix's integers and of its row scales; no parameter has a colon
SCALES_KIND, FLOATS_KIND = "scales", "floats"  # kinds of streams that are not integers
MIX, RAW = "mix", "raw"
CODECS = (MIX, "brotli", "zstd", "lzma")
SAMPLE_BYTES = 1 << 18  # of a longer stream decide about its codec and form


@dataclass(frozen=True)
class Stream:
    """Some arrays of a listing, coded together."""

    kind: str
    arrays: tuple[int, ...]  # indices in the listing
    codec: str
    form: str
    checksum: int  # of the arrays' bytes
    blob: bytes

    def describe(self) -> list:
        """This stream as the artifact's header lists it."""
        return [self.kind, list(self.arrays), self.codec, self.form, self.checksum, len(self.blob)]


@dataclass(frozen=True)
class Members:
    """What coder and decoder both know of a stream: its arrays, and the scales that were decoded before it."""

    names: tuple[str, ...]
    dtype: str
    shapes: tuple[tuple[int, ...], ...]
    scales: np.ndarray | None  # levels (count * rows,) uint8

    @property
    def sizes(self) -> list[int]:
        return [array_bytes(self.dtype, shape) for shape in self.shapes]

    @property
    def stacked(self) -> forms.Shape:
        """The shape as a stack of matrices; vectors are one row."""
        rows, columns = self.shapes[0] if len(self.shapes[0]) == 2 else (1, prod(self.shapes[0]))
        return len(self.shapes), rows, columns


def group(listing: Listing) -> list[tuple[str, list[int]]]:
    """The streams of a listing, (kind, indices): scales, floats, then the integers of one role and shape."""
    found: dict[tuple[str, tuple], list[int]] = {}
    for index, (name, dtype, shape) in enumerate(listing):
        kind = SCALES_KIND if name.endswith(("scale", SCALES)) and dtype == "float16" else FLOATS_KIND
        key = (role(name), shape) if dtype == "int8" else (kind, (dtype,))
        found.setdefault(key, []).append(index)
    return sorted(((kind, indices) for (kind, _), indices in found.items()), key=lambda item: listing[item[1][0]][1])


def role(name: str) -> str:
    """A parameter's name without layer and suffixes: `blocks.3.mlp.up.weight:q` -> `mlp.up`."""
    return re.sub(r"^blocks\.\d+\.", "", name.removesuffix(INTEGERS)).removesuffix(".weight")


def members(indices: Sequence[int], listing: Listing, arrays: Arrays) -> Members:
    """Describe the arrays of a stream; raises FormatError if they cannot share one."""
    chosen = [listing[index] for index in indices]
    dtypes, shapes = {dtype for _, dtype, _ in chosen}, tuple(shape for _, _, shape in chosen)
    if len(dtypes) != 1 or (dtypes == {"int8"} and len(set(shapes)) != 1):
        raise FormatError("expected arrays of one dtype in a stream, integers of one shape")
    if dtypes == {"int8"} and (len(shapes[0]) != 2 or 0 in shapes[0]):
        raise FormatError(f"expected integers as matrices, got {shapes[0]}")
    names = tuple(name for name, _, _ in chosen)
    scales = [arrays.get(name.removesuffix(INTEGERS) + SCALES) for name in names]
    known = [
        scale
        for scale, shape in zip(scales, shapes, strict=True)
        if scale is not None and scale.dtype == np.float16 and scale.shape == shape[:1]
    ]
    levels = mixing.scale_levels(np.concatenate(known)) if len(known) == len(names) else None
    return Members(names, dtypes.pop(), shapes, levels)


def encode(
    kind: str,
    indices: Sequence[int],
    listing: Listing,
    arrays: Arrays,
    allowed: Sequence[str],
    like: Stream | None = None,
) -> Stream:
    """Return these arrays as a stream in the smallest form that the allowed codecs give, or in that of another one."""
    known = members(indices, listing, arrays)
    data = b"".join(arrays[name].tobytes() for name in known.names)
    candidates = _candidates(known, [codec for codec in CODECS if codec in allowed])
    if like is not None and like.codec != RAW:
        candidates = [(like.codec, like.form)]
    elif len(data) > SAMPLE_BYTES and candidates:
        rows = max(SAMPLE_BYTES // known.stacked[2], 1) if known.dtype == "int8" else 1
        sample = _first_rows(known, data, rows)
        best = min(candidates, key=lambda candidate: len(_compress(*candidate, *sample)))
        candidates = [each for each in candidates if each == best or each[0] == best[0] == MIX]
    coded = [(codec, form, _compress(codec, form, known, data)) for codec, form in candidates]
    codec, form, blob = min(coded, key=lambda item: len(item[2]), default=(RAW, "plain", data))
    if len(blob) >= len(data):
        codec, form, blob = RAW, "plain", data
    return Stream(kind, tuple(indices), codec, form, codecs.checksum(data), blob)


def _candidates(known: Members, allowed: Sequence[str]) -> list[tuple[str, str]]:
    """The (codec, form) pairs to try."""
    if known.dtype != "int8":
        return [(codec, form) for codec in allowed if codec != MIX for form in ("plain", "shuffle")]
    count, rows, columns = known.stacked
    fits = MIX in allowed and mixing.available(count * rows * columns)
    widths = {"plain": columns, "transpose": rows}
    mixed = [(MIX, form) for form, width in widths.items() if fits and width <= mixing.MAX_COLUMNS]
    arrangements = ["plain", "transpose", *(["rows"] if 1 < rows <= forms.MAX_ROWS else [])]
    others = [(codec, form) for codec in allowed if codec != MIX for form in arrangements]
    return [*mixed, *others]


def _first_rows(known: Members, data: bytes, rows: int) -> tuple[Members, bytes]:
    """The first rows of a stream's first matrix, or the first bytes of other data, as a stream of its own."""
    if known.dtype != "int8":
        items = SAMPLE_BYTES // item_bytes(known.dtype)
        return Members(known.names[:1], known.dtype, ((items,),), None), data[:SAMPLE_BYTES]
    _, most, columns = known.stacked
    rows = min(rows, most)
    scales = None if known.scales is None else known.scales[:rows]
    return Members(known.names[:1], "int8", ((rows, columns),), scales), data[: rows * columns]


def item_bytes(dtype: str) -> int:
    return np.dtype(DTYPES[dtype]).itemsize


def _compress(codec: str, form: str, known: Members, data: bytes) -> bytes:
    if codec == MIX:
        matrices = np.frombuffer(data, np.int8).reshape(known.stacked)
        turned = form == "transpose"
        return mixing.encode(matrices.transpose(0, 2, 1) if turned else matrices, known.scales, turned)
    return codecs.compress(codec, forms.arrange(form, data, item_bytes(known.dtype), known.stacked))


def decode(stream: Stream, listing: Listing, arrays: Arrays) -> Arrays:
    """Return a stream's arrays by name; `arrays` holds those of the streams before. Raises FormatError."""
    known = members(stream.arrays, listing, arrays)
    total = sum(known.sizes)
    if stream.codec == MIX:
        if known.dtype != "int8" or stream.form not in ("plain", "transpose"):
            raise FormatError(f"expected integers, plain or transposed, in a stream of {MIX}, got {known.dtype}")
        (count, rows, columns), turned = known.stacked, stream.form == "transpose"
        shape = (count, columns, rows) if turned else known.stacked
        matrices = mixing.decode(stream.blob, shape, known.scales, turned)
        data = (matrices.transpose(0, 2, 1) if turned else matrices).tobytes()
    else:
        if stream.form not in forms.FORMS or (known.dtype != "int8" and stream.form in ("transpose", "rows")):
            raise FormatError(f"got form {stream.form[:20]!r} of {known.dtype}, expected one of {forms.FORMS}")
        if stream.form == "rows" and known.stacked[1] > forms.MAX_ROWS:
            raise FormatError(f"expected at most {forms.MAX_ROWS} rows in order, got {known.stacked[1]}")
        plain = codecs.decompress(stream.codec, stream.blob, total + forms.added_bytes(stream.form, known.stacked))
        data = forms.restore(stream.form, plain, item_bytes(known.dtype), known.stacked)
    if codecs.checksum(data) != stream.checksum:
        raise FormatError(f"stream {stream.kind[:40]!r}: its bytes are not those that were written")
    ends = np.cumsum([0, *known.sizes]).tolist()
    pieces = zip(known.names, known.shapes, ends, ends[1:], strict=False)
    return {
        name: np.frombuffer(data[start:end], dtype=DTYPES[known.dtype]).reshape(shape)
        for name, shape, start, end in pieces
    }
