"""Matching of search texts: invisible differences do not cost an idea, and a mismatch is explained."""

import json
import random

import pytest

from common.errors import ProposalError
from experiments.proposal import matching
from experiments.proposal.matching import explain_mismatch, find_matches
from experiments.proposal.patch import apply, is_no_op, normalize_file
from experiments.proposal.schema import Proposal
from preflight.lint import lint
from preflight.source import bundle, syntax
from preflight.source.tree import PLAIN, Source

FILE = """\
def rate(step):
    if step < 10:
        return step / 10

    return 1.0


class Config:
    vocab_size: int = knob(1024, "rows of the embedding")
    layers: int = knob(9, "blocks")
"""
TREE = {"base/a.py": Source(PLAIN, FILE.encode())}
TWO = '    vocab_size: int = knob(1024, "rows of the embedding")\n    layers: int = knob(9, "blocks")'


def proposal(search, replace="    layers: int = knob(8)\n    more: int = 1", **edit):
    edits = [{"path": "base/a.py", "search": search, "replace": replace, **edit}]
    fields = {"title": "t", "hypothesis": "", "class": "schedule", "parent": "0" * 40, "expected_delta_bpb": 0.0}
    return Proposal.parse(json.dumps({**fields, "edits": edits}))


@pytest.mark.parametrize(
    ("search", "kind"),
    [
        (TWO.replace("\n", "\r\n"), "line ends"),
        (TWO.replace("\n", "\r"), "line ends"),
        (TWO.replace("\n", " \n"), "spaces at line ends"),
        (TWO + "  ", "spaces at line ends"),
        (TWO.replace("\n", "\t\n"), "spaces at line ends and tabs"),
        (TWO.replace("    ", "\t"), "tabs"),
        (TWO.replace(" ", "\u00a0"), "non-breaking spaces"),
        (TWO.replace(" int", "\u2003int"), "non-breaking spaces"),
        (TWO.replace("layers", "lay\u200bers"), "zero-width characters"),
        ("\ufeff" + TWO, "zero-width characters"),
        (TWO.replace("    ", "\t").replace("\n", "\r\n"), "line ends and tabs"),
    ],
)
def test_an_edit_with_invisible_differences_applies_and_is_noted(search, kind):
    notes = []
    edited = apply(proposal(search, "    layers: int = knob(8)\r\n    more: int = 1"), TREE, notes.append)
    assert edited["base/a.py"].text == FILE.replace(TWO, "    layers: int = knob(8)\n    more: int = 1")
    (line,) = notes
    assert line == f"edit 1: base/a.py, line 9: applied although {kind} differ"


def test_a_file_with_odd_characters_of_its_own_is_matched_too():
    """The file's own characters stay, except in the part that is replaced."""
    odd = FILE.replace("return 1.0\n", "return 1.0   \n").replace("class", "#\u00a0odd\nclass")
    tree = {"base/a.py": Source(PLAIN, odd.encode())}
    edited = apply(proposal("    return 1.0\n\n\n# odd\nclass", "class"), tree)
    assert edited["base/a.py"].text == odd.replace("    return 1.0   \n\n\n#\u00a0odd\nclass", "class")


def test_an_exact_match_comes_first_and_is_not_noted():
    tree = {"base/a.py": Source(PLAIN, b"x = 1\nx =\xc2\xa01\n")}
    notes = []
    assert apply(proposal("x = 1", "y"), tree, notes.append)["base/a.py"].content == b"y\nx =\xc2\xa01\n"
    assert not notes
    with pytest.raises(ProposalError, match="matches 2 times, expected 1; give more lines around it"):
        apply(proposal("x =\u20031", "y"), tree)


@pytest.mark.parametrize(
    ("search", "words"),
    [
        (TWO.replace("\n", "\n\n"), "its line 2, '', .* line 10 by an empty line that the file does not have"),
        ("        return step / 10\n    return 1.0", "its line 2, .* line 4 by an empty line that only the file"),
        (TWO.replace("    layers", "  layers"), "its line 2, .* indentation of 2 spaces where the file has 4"),
        (TWO[4:].replace("\n    ", "\n"), "its line 2, .* line 10 by indentation of 0 spaces where the file has 4"),
        (TWO + " + 1", r"its line 2, .* by different text; the file has 9: .*; 10: '    layers: int = knob\(9, "),
        ("\n\n" + TWO.replace("9", "8"), "its line 4, .* differs from line 10 by different text"),
        (TWO + "\n    heads: int = 4\n", "its line 3, .* differs from line 11 by the end of the file"),
        ("nothing of the kind (at all)", "nothing like its line 1 is there: 'nothing of the kind"),
        (" \n\u200b", "it is empty"),
    ],
)  # fmt: skip
def test_a_mismatch_names_the_line_and_the_kind(search, words):
    with pytest.raises(ProposalError, match="edit 1: base/a.py: search text matches 0 times, expected 1; ") as error:
        apply(proposal(search), TREE)
    error.match(words)
    assert len(str(error.value)) < 900


def test_of_several_starts_the_one_that_agrees_longest_is_named():
    text = "for a in b:\n    one()\n\nfor a in b:\n    one()\n    two()\n    three()\n"
    assert "its line 4, '    four()', differs from line 7" in explain_mismatch(
        "for a in b:\n    one()\n    two()\n    four()", text
    )


def test_exact_matches_equal_those_of_a_slow_twin():
    """Overlapping matches included; if there is an exact match there are no others."""
    draw = random.Random(1)
    for _ in range(500):
        text, search = ("".join(draw.choices("ab \n", k=size)) for size in (40, draw.randrange(1, 5)))
        exact = [at for at in range(len(text)) if text.startswith(search, at)]
        if exact:
            assert [match.start for match in find_matches(text, search)] == exact
            assert all(text[match.start : match.end] == search for match in find_matches(text, search))


def looks(text):
    """Return the text as it looks, computed in another way than the code under test."""
    lines = text.replace("\r\n", "\n").replace("\u200b", "").replace("\u00a0", " ").split("\n")
    return "\n".join([*(line.rstrip(" ") for line in lines[:-1]), lines[-1]])


def test_invisible_matches_equal_those_of_a_slow_twin():
    """Each match looks like the search text, and there are as many as in the text as it looks."""
    draw = random.Random(2)
    marks = ["a", "b", " ", "\n", "\u00a0", "\u200b", "\r\n"]
    seen = 0
    for _ in range(3000):
        text = "".join(draw.choices(marks, k=30))
        search = "".join(draw.choices(marks, k=draw.randrange(1, 6)))
        if search in text or not looks(search + "\n").strip():
            continue
        wanted, shown = looks(search + "\n")[:-1], looks(text + "\n")
        expected = sum(shown.startswith(wanted, at) for at in range(len(shown)))
        matches = find_matches(text, search)
        assert len(matches) == expected, (text, search)
        for match in matches:
            assert match.kinds
            assert looks(text[match.start : match.end] + "\n").rstrip("\n") == wanted.rstrip("\n"), (text, search)
        seen += bool(matches)
    assert seen > 100


def test_no_match_starts_within_a_tab():
    assert not find_matches("\t\tb", " \tb")
    assert [(match.start, match.end) for match in find_matches("\t\tb", "    b")] == [(1, 3)]


def test_a_last_line_without_a_line_end_is_matched():
    tree = {"base/a.py": Source(PLAIN, b"x = 1\ny = 2")}
    assert apply(proposal("y = 2\n", "y = 3\n"), tree)["base/a.py"].text == "x = 1\ny = 3\n"


@pytest.mark.parametrize(
    ("text", "search"), [("x\n" * 60_000, "x\n" * 60_000 + "y"), ("a" * 80_000, "a" * 40_000 + "b")]
)
def test_the_work_of_a_search_is_bounded(text, search, monkeypatch):
    """A proposal must not cost the loop minutes: lines compared are counted, not timed."""
    compared = 0
    agreeing = matching._agreeing

    def counted(wanted, lines):
        nonlocal compared
        compared += min(len(wanted), len(lines))
        return agreeing(wanted, lines)

    monkeypatch.setattr(matching, "_agreeing", counted)
    assert explain_mismatch(search, text)
    assert compared <= matching.MAX_MATCHES * matching.MAX_COMPARED_LINES
    assert len(find_matches(text, search[:-1])) <= matching.MAX_MATCHES


def test_base_keeps_its_line_ends_whichever_program_saved_a_file():
    edited = apply(proposal(None, None, content="\ufeffx = 1\r\ny = 2\rz = 3\n"), TREE)
    assert edited["base/a.py"].content == b"x = 1\ny = 2\nz = 3\n"
    assert normalize_file(FILE) == FILE


def test_a_byte_order_mark_is_accepted_where_python_accepts_it():
    marked = {path: Source(PLAIN, b"\xef\xbb\xbf" + source.content) for path, source in TREE.items()}
    assert is_no_op(marked, TREE)
    assert not syntax.check_source("base/a.py", marked["base/a.py"].content, {"base.a"})
    assert not lint.check(marked, {})
    assert bundle.build(marked) == bundle.build(TREE)
    inside = {"base/a.py": Source(PLAIN, b"x = 1\n\xef\xbb\xbfy = 2\n")}
    assert syntax.check_source("base/a.py", inside["base/a.py"].content, {"base.a"})
