"""JSON objects in replies: found anywhere in the text, in one pass."""

import json
import random
import sys

import pytest

from common.errors import ProposalError
from proposers.json_objects import MAX_CHARACTERS, find_objects
from proposers.reply import json_object, last_titled

EDIT = {"path": "base/a.py", "search": 'print("{")', "replace": "x = {'a': [1]}\n"}
GOOD = {"title": "the answer", "hypothesis": "h", "class": "schedule", "expected_delta_bpb": -0.1, "edits": [EDIT]}
ANSWER = json.dumps(GOOD)
EXAMPLE = json.dumps({**GOOD, "title": "an example"})


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "```json\n{}\n```",
        "~~~~\n{}\n~~~~",
        "```JSON5\r\n{}\r\n```",
        "   - ```json {} ```",
        "I looked:\n```bash\npython - <<'E'\nprint({'a': 1})\nE\n```\nso\n```json\n{}\n```\nDone {really}.",
        'An example:\n```json\n{"val_bpb": 1.9}\n```\n{}\nAnd the metrics were {"val_bpb": 1.8}',
        f"The format is {EXAMPLE}, so:\n{{}}",
        f"{EXAMPLE}{{}}",
        'void f() { return "unclosed; }\nint g() {\n{}',
        'I set {"edits in the table\n{}',
        '{"proposal": {}, "notes": []}',
        '{"step": 1}\n{"step": 2}\n' * 600 + "{}",
        '[{"type": "text"}, {}]',
        '{"trials": [{"title": "old", "number": 3}], "answer": {} oops',
        "\ufeff{}\n\x1b[0m",
    ],
)
def test_the_last_proposal_is_found(text):
    assert json_object(text.replace("{}", ANSWER)) == GOOD


@pytest.mark.parametrize(
    "wrap", [lambda text: {"result": text}, lambda text: {"item": {"type": "message", "text": [text]}}]
)
def test_proposal_quoted_in_a_log_is_found(wrap):
    """`claude -p --output-format json` and `codex exec --json` print answers like this."""
    quoted = json.dumps({"type": "result", **wrap(f"Here it is:\n```json\n{ANSWER}\n```")})
    log = f'{{"type": "system"}}\n{quoted}\n{{"type": "turn.completed", "usage": {{"tokens": 3}}}}'
    assert json_object(log) == GOOD
    assert last_titled(log) == GOOD


@pytest.mark.parametrize("placeholder", ["[...]", "[…]", "<edits>"])
def test_template_after_the_answer_is_ignored(placeholder):
    template = f'{{"title": "...", "hypothesis": "...", "class": "...", "edits": {placeholder}}}'
    assert json_object(f"{ANSWER}\nThis follows the format {template}.") == GOOD


def test_number_that_python_cannot_read_is_ignored():
    assert json_object(f'{ANSWER}\n{{"n": {"1" * 5000}}}') == GOOD
    assert last_titled(f'{{"n": {"1" * 5000}}}') is None


def test_repeated_input_is_not_an_answer():
    context = json.dumps({"program": "p", "trials": [{"number": 1}], "files": {"base/a.py": ""}, "proposal_schema": {}})
    with pytest.raises(ProposalError, match="got none"):
        json_object(f"user\n{context}\n")


def test_last_proposal_is_found_in_random_text():
    """Prose, code and JSON come in random order before it, and words without edits after it."""
    draw = random.Random(1)
    words = [
        "{",
        "}",
        '"',
        "'",
        "\n",
        "```\n",
        "~~~",
        "{'a': 1}",
        '{"a": 1}',
        "text ",
        "\\",
        EXAMPLE,
        '{"edits": 1}',
        "[",
        "]",
    ]
    after = [word for word in words if word not in (EXAMPLE,)]
    for _ in range(2000):
        before = "".join(draw.choices(words, k=draw.randrange(12)))
        text = f"{before}\n{ANSWER}\n{''.join(draw.choices(after, k=draw.randrange(8)))}"
        assert GOOD in find_objects(text).with_edits, text
        assert json_object(text) == GOOD, text


@pytest.mark.parametrize(
    ("damage", "position"),
    [
        (lambda text: text[:-1], "breaks off at line 16, column 1"),
        (lambda text: text[: text.index('"replace"') + 14], "breaks off at line 13, column 18"),
        (lambda text: text.replace('"h",', '"h"'), "line 7, column 3: Expecting ',' delimiter"),
        (lambda text: text.replace('"h",', '"h\n",'), "line 6, column 19: Invalid control character"),
        (lambda text: text.replace("-0.1,", "-0.1, // guess"), "line 8, column 31: Expecting property name"),
        (lambda text: text.replace('"', "'"), "got none"),
        (lambda text: text.replace('"title"', "title"), "got none"),
        (lambda text: text.replace('"hypothesis"', "hypothesis"), "breaks off at line 6, column 3"),
    ],
)
def test_error_names_line_and_column(damage, position):
    text = f"Here it is:\n\n```json\n{json.dumps(GOOD, indent=2)}"
    with pytest.raises(ProposalError, match=position):
        json_object(damage(text))


def test_example_does_not_replace_a_truncated_answer():
    with pytest.raises(ProposalError, match="breaks off"):
        json_object(f"The format:\n{EXAMPLE}\nMine:\n{ANSWER[:-40]}")
    assert json_object(f'{ANSWER}\nI used the form {{"edits": [...]}} as asked.') == GOOD


@pytest.mark.parametrize(
    "unit",
    [
        "{'step': 100, 'loss': 1.2345, 'opt': {'lr': 0.02, 'wd': 0.1}}\n",
        '{"',
        '{"a":',
        '{"a":[',
        "{",
        '{"a": 1}',
        '{"x\\',
        '{"edits": [',
        '{"a": "' + "x" * 1000,
    ],
)
def test_text_is_read_in_one_pass(unit, monkeypatch):
    """Every character is decoded about once; only text before an error is decoded again."""
    text = (unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    read = 0
    decode = json.JSONDecoder.raw_decode

    def counted(self, rest, at):
        nonlocal read
        try:
            value, end = decode(self, rest, at)
        except json.JSONDecodeError as error:
            read += error.pos - at
            raise
        except RecursionError:
            read += sys.getrecursionlimit()
            raise
        read += end - at
        return value, end

    monkeypatch.setattr(json.JSONDecoder, "raw_decode", counted)
    assert not find_objects(text).with_edits
    assert read <= 2 * len(text)


def test_end_of_a_long_log_is_read():
    assert json_object("x" * (2 * MAX_CHARACTERS) + ANSWER) == GOOD


def test_titles_in_repeated_input_are_ignored():
    """Codex repeats its input on stderr, and rows of the run have titles too."""
    context = json.dumps({"trials": [{"number": 3, "title": "old", "hypothesis": "h"}], "parent": "a" * 40})
    row = '{"number": 4, "title": "older"}'
    assert last_titled(f"user\n{context}\n{row}\ncodex\nI raised the rate.\n") is None
    assert last_titled(f'{context}\n{row}\n{{"title": "mine"}}\ntokens used: {{"total": 3}}')["title"] == "mine"
