"""artifact.bin: weights.bin entropy-coded, as one file that describes itself and holds nothing that could be run.

Magic, lengths and checksum of the header, the header (JSON: meta, arrays, streams; compressed), then the streams.
Equal weights give equal bytes on any machine with the same versions of brotli, zstd and lzma; the coder of integers
needs none.
"""

import json
import operator
import struct
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import compress
from os import cpu_count

from base.compress import codecs, container, streams
from base.compress.container import Arrays, Listing
from base.compress.errors import FormatError
from base.compress.streams import Stream

MAGIC = b"CADA\x02"
PREFIX = struct.Struct("<III")  # bytes of the header as packed and as text, and its checksum
HEADER_CODEC = "brotli"
MAX_STREAMS = 4096
ENTRY = (str, list, str, str, int, int)  # kind, arrays, codec, form, checksum, bytes
MAX_RATIO, FREE_BYTES = 256, 1 << 24  # arrays may take so many times the file's bytes, and so much in any case


def pack(weights: bytes, allowed: Sequence[str] = streams.CODECS) -> bytes:
    """Return the artifact of weights.bin; raises FormatError if `weights` is not canonical."""
    meta, arrays = container.load(weights)
    if container.dump(meta, arrays) != weights:
        raise FormatError("expected weights as container.dump writes them")
    return assemble(meta, arrays, encode(arrays, allowed))


def encode(
    arrays: Arrays, allowed: Sequence[str] = streams.CODECS, known: Sequence[Stream] = (), changed: Container[str] = ()
) -> list[Stream]:
    """Return all streams, coded in as many threads as there are cores.

    Of `known` ones those with a change are coded again, in the form that they had.
    """
    listing = container.listing(arrays)
    before = {stream.arrays: stream for stream in known}

    def coded(item: tuple[str, Sequence[int]]) -> Stream:
        like = before.get(tuple(item[1]))
        if like is not None and not any(listing[index][0] in changed for index in like.arrays):
            return like
        return streams.encode(*item, listing, arrays, allowed, like)

    return _concurrently(coded, streams.group(listing))


def assemble(meta: dict, arrays: Arrays, coded: Sequence[Stream]) -> bytes:
    listing = [[name, dtype, list(shape)] for name, dtype, shape in container.listing(arrays)]
    header = {"meta": meta, "arrays": listing, "streams": [stream.describe() for stream in coded]}
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    packed = codecs.compress(HEADER_CODEC, text)
    lengths = PREFIX.pack(len(packed), len(text), codecs.checksum(text))
    return b"".join([MAGIC, lengths, packed, *(stream.blob for stream in coded)])


def unpack(artifact: bytes) -> tuple[dict, Arrays]:
    """Return meta and arrays of an artifact; raises FormatError on anything else."""
    header, listing, coded = read(artifact)
    is_integers = [listing[stream.arrays[0]][1] == "int8" for stream in coded]
    arrays: Arrays = {}
    for stream in compress(coded, map(operator.not_, is_integers)):  # the coder of integers looks at the scales
        arrays.update(streams.decode(stream, listing, arrays))
    known = dict(arrays)
    for part in _concurrently(lambda stream: streams.decode(stream, listing, known), [*compress(coded, is_integers)]):
        arrays.update(part)
    return header["meta"], arrays


def read(artifact: bytes) -> tuple[dict, Listing, list[Stream]]:
    """Return header, listing and streams without decoding them; raises FormatError."""
    start = len(MAGIC) + PREFIX.size
    if artifact[: len(MAGIC)] != MAGIC or len(artifact) < start:
        raise FormatError(f"expected an artifact that starts with {MAGIC!r}, got {artifact[: len(MAGIC)]!r}")
    packed, length, checksum = PREFIX.unpack_from(artifact, len(MAGIC))
    if length > container.MAX_HEADER_BYTES or start + packed > len(artifact):
        raise FormatError(f"expected a header within {len(artifact)} bytes, got {packed}, {length} unpacked")
    text = codecs.decompress(HEADER_CODEC, artifact[start : start + packed], length)
    if codecs.checksum(text) != checksum:
        raise FormatError("the header's bytes are not those that were written")
    header = container.parse_header(text, length)
    listing = container.check_listing(
        header.get("arrays"), min(max(FREE_BYTES, MAX_RATIO * len(artifact)), container.MAX_ARRAY_BYTES)
    )
    return header, listing, _streams(header.get("streams"), listing, artifact, start + packed)


def _streams(described: object, listing: Listing, artifact: bytes, offset: int) -> list[Stream]:
    """Return the streams of a header; together they hold each array once and fill the file."""
    if not isinstance(described, list) or len(described) > MAX_STREAMS:
        raise FormatError(f"expected a list of at most {MAX_STREAMS} streams in the header")
    found: list[Stream] = []
    for entry in described:
        if not isinstance(entry, list) or not all(map(isinstance, entry, ENTRY)) or len(entry) != len(ENTRY):
            raise FormatError("expected [kind, arrays, codec, form, checksum, bytes] for each stream")
        kind, arrays, codec, form, checksum, size = entry
        if not arrays or not all(type(index) is int and 0 <= index < len(listing) for index in arrays):
            raise FormatError(f"stream {kind[:40]!r}: expected indices of {len(listing)} arrays")
        if not 0 <= size <= len(artifact) - offset:
            raise FormatError(f"stream {kind[:40]!r}: got {size} bytes, the file has {len(artifact) - offset} left")
        found.append(Stream(kind, tuple(arrays), codec, form, checksum, artifact[offset : offset + size]))
        offset += size
    if sorted(index for stream in found for index in stream.arrays) != list(range(len(listing))):
        raise FormatError("expected each array in one stream")
    if offset != len(artifact):
        raise FormatError(f"expected {offset} bytes, got {len(artifact)}")
    return found


def _concurrently(work: Callable, items: Sequence) -> list:
    """Map in threads (codecs release the GIL), the longest first would gain little: streams are few."""
    with ThreadPoolExecutor(max_workers=cpu_count() or 1) as threads:
        return list(threads.map(work, items))
