"""Tests of the bundle: its contents, its sources and its tracebacks."""

import ast
import base64
import json
import lzma
import re
import subprocess
import sys

from helpers.base_tree import BASE

from preflight.source import bundle, syntax
from preflight.source.tree import PLAIN, Source


def test_the_bundle_holds_every_module_and_is_repeatable():
    built = bundle.build(BASE)
    assert built == bundle.build(dict(reversed(BASE.items())))
    payload = re.search(rb'b85decode\("([^"]+)"\)', built).group(1)
    modules = json.loads(lzma.decompress(base64.b85decode(payload)))
    assert {name: text for name, (text, _) in modules.items()} == {
        syntax.module_name(path): source.content.decode() for path, source in BASE.items()
    }
    stub = len(built) - len(payload)
    assert stub < 900
    ast.parse(built)


def test_the_bundle_keeps_sources_and_tracebacks(tmp_path):
    tree = {
        "base/__init__.py": Source(PLAIN, b""),
        "base/sub/__init__.py": Source(PLAIN, b""),
        "base/sub/deep.py": Source(PLAIN, b"def f():\n    raise KeyError('here')\n"),
        "base/__main__.py": Source(
            PLAIN,
            b"import inspect\nfrom base.sub import deep\nprint(inspect.getsource(deep.f))\n"
            b"import base\nprint(base.__path__ is not None)\ndeep.f()\n",
        ),
    }
    program = tmp_path / bundle.NAME
    program.write_bytes(bundle.build(tree))
    done = subprocess.run([sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True)
    assert "raise KeyError('here')" in done.stdout
    assert 'File "base/sub/deep.py", line 2' in done.stderr
    assert "raise KeyError('here')" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [bundle.NAME]
