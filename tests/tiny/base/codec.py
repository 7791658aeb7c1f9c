"""The entropy coder between weights.bin and artifact.bin."""

import zlib


def compress(blob):
    return zlib.compress(blob, 9)


def decompress(blob):
    return zlib.decompress(blob)
