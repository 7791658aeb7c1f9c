"""Tests of the lint on trees: base/ and the demo proposals pass, and a parent's findings are forgiven."""

import json

import pytest
from helpers.base_tree import BASE, with_file
from helpers.tiny_profile import ROOT

from experiments.proposal.patch import apply
from experiments.proposal.schema import Proposal
from preflight import checks
from preflight.lint import lint
from preflight.source.boundary import LOCKED
from preflight.source.tree import read_folder


@pytest.mark.parametrize("root", [ROOT, ROOT / "tests" / "fixtures" / "tiny_base"])
def test_the_shipped_trees_pass_without_an_exemption(root):
    """Even without a parent whose findings would be forgiven."""
    assert lint.check(read_folder(root)) == []


@pytest.mark.parametrize("path", sorted((ROOT / "proposers" / "demo").glob("*.json")), ids=lambda path: path.stem)
def test_every_demo_proposal_passes(path):
    proposal = Proposal.parse(json.dumps({**json.loads(path.read_text()), "parent": "0" * 40}))
    assert checks.static(apply(proposal, BASE), BASE) == []


def test_findings_of_the_parent_are_forgiven_as_often_as_they_occur():
    parent = with_file("base/idea.py", "import socket\n\n\ndef f(x, n):\n    return getattr(x, n)\n")
    longer = parent["base/idea.py"].content + b"\n\ndef g(x, n):\n    return f(x, n)\n"
    assert lint.check(with_file("base/idea.py", longer.decode()), parent) == []
    (finding,) = lint.check(with_file("base/idea.py", longer.decode() + "\n\ng(1, getattr(1, chr(97)))\n"), parent)
    assert "getattr" in finding.got
    moved = {**parent, "base/other.py": parent["base/idea.py"]}
    assert {finding.path for finding in lint.check(moved, parent)} == {"base/other.py"}


def test_locked_files_are_not_read():
    assert {"base/protocol.py", "base/__main__.py"} < LOCKED
    assert lint.check({path: BASE[path] for path in LOCKED & BASE.keys()}) == []


def test_too_deep_nesting_is_a_finding_and_not_a_crash():
    deep = "x = " + "+".join(["1"] * 900) + "\n"
    findings = checks.static(with_file("base/idea.py", deep), BASE)
    assert [finding.rule for finding in findings] in ([], ["static"])
