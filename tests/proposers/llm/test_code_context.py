"""The selection of files for a prompt, and outlines of the rest."""

import pytest
from helpers.proposers.rows import BASE

from proposers.allocation import CLASSES
from proposers.llm import prompt
from proposers.llm.code_context import COMMON, OF_CLASS, outline, select


@pytest.mark.parametrize("kind", CLASSES)
def test_class_shows_its_files_whole_and_the_rest_by_signatures(make_context, kind):
    shown = select(BASE, kind, [], 180_000)
    whole = {file.path: file.text for file in [*shown.common, *shown.of_class]}
    assert set(COMMON) <= whole.keys()
    for path in BASE:
        if path.startswith(OF_CLASS[kind]) and BASE[path].content:
            assert whole[path] == BASE[path].content.decode(), path
    assert {file.path for file in shown.outlines} | set(COMMON) == {path for path in BASE if BASE[path].content}
    assert len(prompt.prompt(make_context(), kind).prefix) == 3


def test_files_that_do_not_fit_are_shown_by_signatures():
    small = select(BASE, "architecture", [], 80_000)
    assert len(small.of_class) < len(select(BASE, "architecture", [], 180_000).of_class)
    assert sum(len(file.text) for group in (small.outlines, small.common, small.of_class) for file in group) <= 80_000


def test_outline_names_classes_and_functions():
    text = outline(BASE["base/optim/muon.py"].content.decode())
    assert "class Muon" in text
    assert "def apply(" in text
    assert len(text) < len(BASE["base/optim/muon.py"].content) / 2
    assert outline("def f(:") == "(does not parse)"
