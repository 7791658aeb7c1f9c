"""The general-purpose codecs of a stream of bytes, each with its strongest setting: brotli, zstd, lzma, or none.

Measured side by side in dev/benchmarks/compression.md. Formats without headers or checksums: the artifact has its own.
"""

import lzma
import zlib

import brotli
import zstandard

from base.compress.errors import FormatError

FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0}]


def compress(codec: str, data: bytes) -> bytes:
    """Return `data` as this codec writes it."""
    if codec == "raw":
        return data
    if codec == "brotli":
        return brotli.compress(data, quality=11, lgwin=24)
    if codec == "zstd":
        packer = zstandard.ZstdCompressor(level=22, write_checksum=False, write_content_size=False)
        return packer.compress(data)
    if codec == "lzma":
        return lzma.compress(data, format=lzma.FORMAT_RAW, filters=FILTERS)
    raise ValueError(f"got codec {codec!r}, expected brotli, zstd, lzma or raw")


def decompress(codec: str, blob: bytes, size: int) -> bytes:
    """Return the `size` bytes that were compressed, never decoding more; raises FormatError."""
    try:
        data = _decompress(codec, blob, size)
    except (brotli.error, zstandard.ZstdError, lzma.LZMAError, EOFError) as error:
        raise FormatError(f"expected a stream of {codec}, got {str(error)[:80]}") from None
    if len(data) != size:
        raise FormatError(f"expected {size} bytes from {codec}, got {len(data)}")
    return data


def _decompress(codec: str, blob: bytes, size: int) -> bytes:
    if codec == "raw":
        return blob
    if codec == "zstd":
        with zstandard.ZstdDecompressor().stream_reader(blob) as reader:  # whatever size the frame claims
            return reader.read(size + 1)
    if codec == "lzma":
        return lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=FILTERS).decompress(blob, max_length=size + 1)
    if codec == "brotli":
        return _decompress_brotli(blob, size)
    raise FormatError(f"got codec {str(codec)[:20]!r}, expected brotli, zstd, lzma or raw")


def _decompress_brotli(blob: bytes, size: int) -> bytes:
    """Decode piece by piece, so that a hostile stream stops at `size` bytes."""
    reader, parts, total = brotli.Decompressor(), [], 0
    pending: bytes = blob
    while total <= size and not reader.is_finished():
        part = reader.process(pending, output_buffer_limit=1 << 20)
        pending = b""
        if not part and reader.can_accept_more_data():
            break  # truncated
        parts.append(part)
        total += len(part)
    return b"".join(parts)


def checksum(data: bytes) -> int:
    return zlib.crc32(data)
