"""Unpacking of packed scripts without running them: exec of base64 or base85 over LZMA, zlib or bzip2.

Records ship such scripts to count fewer code bytes (openai/parameter-golf #1394 onward); so do ours. Only constants of
the syntax tree are decoded, whatever the code around them does, and only up to a bounded size.
"""

import ast
import base64
import binascii
import bz2
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

MIN_CHARACTERS = 200  # of a constant that may be code
MAX_BYTES = 8 << 20  # of one unpacked payload
MAX_DEPTH = 4  # of packed scripts inside packed scripts

LIKE_PYTHON = re.compile(r"^\s*(?:import|from|def|class)\s+\w+|^\s*exec\(", flags=re.M)

Decoder = Callable[[bytes], bytes]
TEXTS: tuple[Decoder, ...] = (lambda payload: payload, base64.b85decode, base64.b64decode, base64.a85decode)


def sources(script: str, depth: int = MAX_DEPTH) -> Iterator[str]:
    """Yield the script itself, then every source packed in its constants; none if it does not parse."""
    yield script
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        for constant in _constants(ast.parse(script)) if depth else ():
            for payload in _unpacked(constant):
                yield from _texts(payload, depth - 1)


def _constants(tree: ast.AST) -> Iterator[bytes]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            value = node.value.encode("latin-1", "replace") if isinstance(node.value, str) else node.value
            if len(value) >= MIN_CHARACTERS:
                yield value


def _unpacked(constant: bytes) -> Iterator[bytes]:
    for decode in TEXTS:
        try:
            packed = decode(constant)
        except (ValueError, binascii.Error):
            continue
        for decompress in DECOMPRESSORS:
            try:
                if payload := decompress(packed):
                    yield payload
                    return
            except (lzma.LZMAError, zlib.error, OSError, ValueError, EOFError):
                continue


def _texts(payload: bytes, depth: int) -> Iterator[str]:
    """Yield the Python in a payload: a source, or JSON {module: [source, is_package]} as caddie packs it."""
    try:
        text = payload.decode("utf-8")
        packed = json.loads(text) if text.startswith("{") else None
    except ValueError:
        return
    modules = [value[0] for value in packed.values() if isinstance(value, list) and value] if packed else [text]
    for source in map(str, modules):
        if packed or LIKE_PYTHON.search(source):  # a packed table or C source is not Python
            yield from sources(source, depth)


def _lzma(packed: bytes, form: int = lzma.FORMAT_AUTO, filters: list[dict[str, int]] | None = None) -> bytes:
    return lzma.LZMADecompressor(form, filters=filters).decompress(packed, MAX_BYTES)


def _zlib(packed: bytes) -> bytes:
    return zlib.decompressobj(wbits=47).decompress(packed, MAX_BYTES)


def _bz2(packed: bytes) -> bytes:
    return bz2.BZ2Decompressor().decompress(packed, MAX_BYTES)


RAW_FILTERS = [[{"id": kind, "dict_size": 1 << 26}] for kind in (lzma.FILTER_LZMA2, lzma.FILTER_LZMA1)]
RAW = [partial(_lzma, form=lzma.FORMAT_RAW, filters=filters) for filters in RAW_FILTERS]
DECOMPRESSORS: tuple[Decoder, ...] = (_lzma, _zlib, _bz2, *RAW)
