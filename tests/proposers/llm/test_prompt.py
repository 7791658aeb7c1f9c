"""The prompt: its size, its stable prefix, its templates and its reply schema."""

import json
from typing import get_args

import pytest
from helpers.proposers.rows import BASE, INJECTION, measured_row, row

from common.state import State
from experiments.proposal.schema import Proposal, ProposalClass
from preflight.source.tree import PLAIN, Source
from proposers.allocation import CLASSES
from proposers.llm import prompt
from proposers.llm.code_context import select


def long_history(count):
    """Return rows of every kind, with the longest texts that a ledger may hold."""
    states = [State.KEPT, State.DISCARDED, State.REVERTED, State.CRASH, State.BAD_DIFF, State.OVERSIZE]
    start = row(0, State.BASELINE, val_bpb=1.94, artifact_bytes=229_000)
    return [start] + [
        row(
            number,
            states[number % 6],
            kind=CLASSES[number % len(CLASSES)],
            title=INJECTION[:200],
            detail=INJECTION[:1000],
            delta_bpb=(-1) ** number * 0.01 if states[number % 6].judged else None,
            val_bpb=1.9,
            proposal=json.dumps({"idea": f"A{number % 60}", "edits": []}),
        )
        for number in range(1, count)
    ]


@pytest.mark.parametrize("count", [1, 10, 100, 1000])
def test_question_has_a_bounded_size(make_context, count):
    written = prompt.prompt(make_context(long_history(count)), "optimizer")
    assert prompt.tokens(len(written.question)) < prompt.REST_TOKENS
    assert sum(prompt.tokens(len(part)) for part in written.prefix) < prompt.PREFIX_TOKENS
    if count == 100:
        longer = prompt.prompt(make_context(long_history(1000)), "optimizer")
        assert len(longer.question) < 1.1 * len(written.question)


def test_prefix_is_the_same_byte_for_byte_until_base_changes(make_context):
    first, later = (prompt.prompt(make_context(long_history(count)), "optimizer") for count in (7, 300))
    assert first.prefix[0] == later.prefix[0]
    another = prompt.prompt(make_context(long_history(7)), "schedule")
    assert first.prefix[:2] == another.prefix[:2]
    assert first.prefix[2] != another.prefix[2]
    assert first.question != later.question


def test_kept_change_invalidates_only_the_end_of_the_prefix(make_context):
    """Files that kept trials change move behind the others."""
    start = prompt.prompt(make_context(), "architecture")
    kept = measured_row(1, ("base/config.py", "num_layers", "num_layers"), state=State.KEPT)
    after = select(BASE, "architecture", [kept], 200_000)
    assert [file.path for file in after.common][-1] == "base/config.py"
    moved = prompt.prompt(make_context([kept]), "architecture")
    alike = next(i for i, (a, b) in enumerate(zip(start.prefix[1], moved.prefix[1], strict=False)) if a != b)
    assert alike > 0.1 * len(start.prefix[1])
    assert prompt.prompt(make_context([kept]), "architecture").prefix == moved.prefix


def test_tree_of_any_size_fits(make_context):
    large = {**BASE, **{f"base/more{i}.py": Source(PLAIN, b"def f(x): ...\n" * 4000) for i in range(100)}}
    for tree in (large, {**BASE, "base/config.py": Source(PLAIN, b"x = 1\n" * 40_000)}):
        written = prompt.prompt(make_context(tree=tree), "architecture")
        assert sum(prompt.tokens(len(part)) for part in written.prefix) < prompt.PREFIX_TOKENS


def test_undefined_value_in_a_template_is_an_error():
    with pytest.raises(Exception, match="'kind' is undefined"):
        prompt.render("ask.md.j2", target=None)


def test_ideas_have_unique_tags_in_every_class():
    lines = (prompt.PROMPTS / "ideas.md").read_text().splitlines()
    tags = [line.split()[1] for line in lines if line.startswith("- ")]
    assert len(tags) == len(set(tags)) >= 55
    assert [line[3:] for line in lines if line.startswith("## ")] == list(CLASSES)
    assert all("source:" in line and "effect:" in line for line in lines if line.startswith("- "))


def test_reply_schema_names_every_class_and_every_field():
    schema = prompt.schema()
    assert schema["properties"]["class"]["enum"] == list(get_args(ProposalClass))
    assert set(schema["required"]) == set(schema["properties"])
    names = {field.alias or name for name, field in Proposal.model_fields.items()}
    assert set(schema["properties"]) - {"files", "lessons"} == names - {"parent", "by"}
