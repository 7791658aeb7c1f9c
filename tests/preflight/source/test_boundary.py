"""Tests of the paths that a proposal may touch."""

import pytest
from helpers.base_tree import BASE, with_file
from helpers.tiny_profile import ROOT

from preflight.source import boundary, syntax
from preflight.source.tree import LINK


@pytest.mark.parametrize("path", ["base/train.py", "base/model/gpt.py", "base/new_idea.py", "base/a/b/c.py"])
def test_ordinary_files_may_change(path):
    assert boundary.check_tree(with_file(path), BASE) == []


@pytest.mark.parametrize("path", sorted(boundary.LOCKED))
def test_locked_files_may_not(path):
    assert boundary.check_tree(with_file(path), BASE)
    assert boundary.check_path(path)


def test_locked_files_exist():
    assert not {path for path in boundary.LOCKED if not (ROOT / path).exists()}


def test_a_renamed_or_removed_locked_file_is_found():
    renamed = {path: source for path, source in BASE.items() if path != "base/protocol.py"}
    renamed["base/wire.py"] = BASE["base/protocol.py"]
    assert [finding.path for finding in boundary.check_tree(renamed, BASE)] == ["base/protocol.py"]


@pytest.mark.parametrize("mode", [LINK, "100755", "160000"])
def test_links_and_modes_are_refused(mode):
    findings = boundary.check_tree(with_file("base/train.py", b"protocol.py", mode), BASE)
    assert any(f"mode {mode}" in finding.got for finding in findings)


@pytest.mark.parametrize(
    "path",
    ["base/../x.py", "/base/x.py", "base//x.py", "base/X.py", "base/x.pyc", "base/x.py\n", "tests/x.py", "base/é.py"],
)
def test_unusual_paths_are_refused(path):
    assert boundary.check_path(path)


@pytest.mark.parametrize(
    "path", ["base/__main__/__init__.py", "base/protocol/__init__.py", "base/tokens/bpb/__init__.py"]
)
def test_a_package_cannot_take_a_locked_modules_name(path):
    assert boundary.check_path(path)
    assert any("a second base." in finding.got for finding in syntax.check(with_file(path)))
