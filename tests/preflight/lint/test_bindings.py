"""Tests of name resolution through the imports of a tree."""

from helpers.base_tree import BASE, with_file

from preflight.lint import lint
from preflight.source.tree import PLAIN, Source


def test_a_name_is_followed_through_the_files_of_the_tree():
    tree = {**with_file("base/idea.py", "from base.one import two as three\n\nthree.load('x')\n"),
            "base/one.py": Source(PLAIN, b"import base.idea as again\nimport torch as two\n")}  # fmt: skip
    (finding,) = [finding for finding in lint.check(tree, BASE) if finding.path == "base/idea.py"]
    assert finding.got == "torch.load as a value"
    circular = {
        **with_file("base/idea.py", "from base.one import x\n\nx.y\n"),
        "base/one.py": Source(PLAIN, b"from base.idea import x\n"),
    }
    assert lint.check(circular, BASE) == []  # a circular import terminates, in the lint and in Python
