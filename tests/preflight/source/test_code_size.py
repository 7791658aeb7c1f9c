"""Tests of code size: it counts syntax and literals, so that neither layout nor packing makes a change smaller."""

import ast
import base64
import json
import lzma
import re
import zlib

import pytest
import python_minifier
from helpers.base_tree import BASE, with_file

from common import limits
from common.errors import ProposalError
from experiments.proposal.patch import apply, net_code_lines
from experiments.proposal.schema import Proposal
from preflight.source import syntax
from preflight.source.tree import PLAIN, Source

CODE = sorted(path for path, source in BASE.items() if source.content.count(b"\n") > 25)


def net(path, content):
    """Return the net lines of a change that replaces one file."""
    return net_code_lines(with_file(path, content), BASE)


def squeeze(node):
    """Join every block of plain statements into one line with semicolons."""
    lines = ast.unparse(node).splitlines()
    joined = [lines[0]]
    for before, line in zip(lines, lines[1:], strict=False):
        indent = len(line) - len(line.lstrip())
        plain = not line.rstrip().endswith((":", "[", "(", "{", ",")) and not line.lstrip().startswith(("@", "class "))
        same = indent == len(before) - len(before.lstrip()) and not before.rstrip().endswith(":")
        words = ("if ", "for ", "while ", "with ", "def ", "try", "else", "elif", "except", "return", "raise", "match")
        simple = plain and same and not any(part.lstrip().startswith(words) for part in (line, before))
        if simple and not before.lstrip().startswith(("@", "class ", '"')):
            joined[-1] += "; " + line.strip()
        else:
            joined.append(line)
    return "\n".join(joined).encode()


@pytest.mark.parametrize("path", CODE)
def test_layout_does_not_change_the_size(path):
    content = BASE[path].content
    tree = ast.parse(content)
    one_liners = squeeze(tree)
    ast.parse(one_liners)
    assert len(one_liners.splitlines()) < len(content.splitlines())
    for again in (
        ast.unparse(tree).encode(),
        one_liners,
        content.replace(b"\n", b"\n\n") if b'"""' not in content else b"",
    ):
        assert not again or net(path, again) == 0
    compact = python_minifier.minify(
        content.decode(), remove_literal_statements=False, hoist_literals=False, rename_locals=False,
        combine_imports=False, remove_pass=False, remove_annotations=False, remove_object_base=False,
        convert_posargs_to_args=False, remove_explicit_return_none=False, remove_builtin_exception_brackets=False,
        constant_folding=False, preserve_shebang=False,
    )  # fmt: skip
    assert net(path, compact.encode()) == 0  # without blank lines and comments


@pytest.mark.parametrize("path", CODE)
def test_a_module_turned_into_text_is_an_addition(path):
    content = BASE[path].content
    small = python_minifier.minify(content.decode(), remove_literal_statements=True).encode()
    for packed in (
        f"exec({content.decode()!r})\n",
        f"exec({small.decode()!r})\n",
        f"import zlib\nexec(zlib.decompress({zlib.compress(small, 9)!r}))\n",
        "import base64,zlib\n"
        f'exec(zlib.decompress(base64.b85decode("{base64.b85encode(zlib.compress(small, 9)).decode()}")))\n',
        f"import lzma\nexec(lzma.decompress({lzma.compress(small)!r}))\n",
        f"exec({int.from_bytes(zlib.compress(small, 9), 'little'):#x}.to_bytes(99999, 'little'))\n",
    ):
        assert net(path, packed.encode()) > 0, packed[:40]


def test_a_loop_written_as_a_comprehension_is_not_a_simplification():
    loop = b"def f(rows):\n    found = []\n    for row in rows:\n        if row > 1:\n"
    loop += b"            found.append(row * 2)\n    return found\n"
    short = b"def f(rows):\n    return [row * 2 for row in rows if row > 1]\n"
    lines = syntax.size([short]).net_lines(syntax.size([loop]))
    assert -1 <= lines <= 0


def test_removed_code_counts_and_removed_text_does_not():
    path = "base/model/gpt.py"
    content = BASE[path].content.decode()
    tree = ast.parse(content)
    tree.body = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]
    functions = sum(isinstance(node, ast.FunctionDef) for node in ast.parse(content).body)
    assert functions
    removed = net(path, ast.unparse(tree).encode())
    assert removed < -5
    assert net_code_lines(BASE, {**BASE, path: Source(PLAIN, ast.unparse(tree).encode())}) >= -removed
    config = BASE["base/config.py"].content
    (help_text,) = re.findall(rb'seed: int = knob\(1337, "(.{20,})"\)', config)
    assert net("base/config.py", config.replace(help_text, b"")) == 0
    assert net("base/config.py", config.replace(b"training steps", b"training steps" * 20)) > 10


def test_a_new_knob_costs_a_few_lines():
    content = BASE["base/config.py"].content
    (line,) = re.findall(rb"    seed: int = knob\(.*\)\n", content)
    knob = b'    depth_power: float = knob(0.5, "scales residual branches by depth (#315)", Range(0.0, 1.0))\n'
    assert 1 <= net("base/config.py", content.replace(line, line + knob)) <= 5


def test_code_that_does_not_parse_is_counted_by_its_lines():
    assert net("base/idea.py", b"def f(:\n    pass\n") == 2


def test_a_proposal_adds_a_bounded_amount_of_text():
    """All of base/ goes into every prompt, and a line may be as long as a file."""
    edit = {"path": "base/idea.py", "content": "x = '" + "y" * limits.PROPOSAL_BYTES + "'\n"}
    fields = {"title": "t", "hypothesis": "", "class": "data", "parent": "0" * 40, "expected_delta_bpb": 0.0}
    with pytest.raises(ProposalError, match=f"expected at most {limits.PROPOSAL_BYTES}"):
        apply(Proposal.parse(json.dumps({**fields, "edits": [edit]})), BASE)
    edit["content"] = "x = '" + "y" * (limits.PROPOSAL_BYTES // 2) + "'\n"
    assert "base/idea.py" in apply(Proposal.parse(json.dumps({**fields, "edits": [edit]})), BASE)
