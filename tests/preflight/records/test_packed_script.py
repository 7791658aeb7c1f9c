"""Tests of unpacking packed scripts: every encoding, nested packing and a decompression bomb."""

import base64
import bz2
import lzma
import zlib

import pytest

from preflight.records import packed_script
from preflight.source import bundle
from preflight.source.tree import PLAIN, Source

SOURCE = "import ngram_tilt\n" + "".join(f"x{i} = {i**9 % 9973}\n" for i in range(99))


@pytest.mark.parametrize("encode", [base64.b85encode, base64.b64encode, base64.a85encode, bytes])
@pytest.mark.parametrize("compress", [lzma.compress, zlib.compress, bz2.compress])
def test_a_packed_script_is_unpacked_without_running_it(encode, compress):
    packed = f"import os\nexec(x({encode(compress(SOURCE.encode()))!r}))\nos.abort()\n"
    twice = f"exec(y({encode(compress(packed.encode()))!r}))\n"
    assert SOURCE in packed_script.sources(packed)
    assert SOURCE in packed_script.sources(twice)


def test_our_own_bundle_and_raw_lzma_are_unpacked():
    tree = {"base/__main__.py": Source(PLAIN, SOURCE.encode())}
    assert SOURCE in packed_script.sources(bundle.build(tree).decode())
    filters = [{"id": lzma.FILTER_LZMA2}]
    raw = base64.b85encode(lzma.compress(SOURCE.encode(), lzma.FORMAT_RAW, filters=filters))
    assert SOURCE in packed_script.sources(f"exec(x({raw!r}))")


def test_a_decompression_bomb_is_cut_off():
    bomb = base64.b85encode(lzma.compress(b"#" * (packed_script.MAX_BYTES * 4)))
    assert max(map(len, packed_script.sources(f"exec(x({bomb!r}))"))) <= packed_script.MAX_BYTES
