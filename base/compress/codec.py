"""The entropy coder between weights.bin and artifact.bin."""

import zstandard

MAX_WEIGHTS_BYTES = 1 << 30  # a hostile frame may claim any size, so this bounds it


def compress(blob: bytes, level: int) -> bytes:
    return zstandard.ZstdCompressor(level=level, write_checksum=False).compress(blob)


def decompress(blob: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(blob, max_output_size=MAX_WEIGHTS_BYTES)
