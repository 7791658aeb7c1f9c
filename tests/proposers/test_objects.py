"""A reply is found wherever it stands, in one pass over the text."""

import json
import random
import sys

import pytest

from data.errors import ProposalError
from proposers.objects import MOST_CHARACTERS, objects
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
    "wrap", [lambda said: {"result": said}, lambda said: {"item": {"type": "message", "text": [said]}}]
)
def test_a_proposal_that_a_log_quotes_is_found(wrap):
    """As `claude -p --output-format json` and `codex exec --json` print it."""
    said = json.dumps({"type": "result", **wrap(f"Here it is:\n```json\n{ANSWER}\n```")})
    log = f'{{"type": "system"}}\n{said}\n{{"type": "turn.completed", "usage": {{"tokens": 3}}}}'
    assert json_object(log) == GOOD
    assert last_titled(log) == GOOD


@pytest.mark.parametrize("blank", ["[...]", "[…]", "<edits>"])
def test_a_template_after_the_answer_breaks_nothing(blank):
    template = f'{{"title": "...", "hypothesis": "...", "class": "...", "edits": {blank}}}'
    assert json_object(f"{ANSWER}\nThis follows the format {template}.") == GOOD


def test_a_number_that_python_does_not_read_costs_nothing():
    assert json_object(f'{ANSWER}\n{{"n": {"1" * 5000}}}') == GOOD
    assert last_titled(f'{{"n": {"1" * 5000}}}') is None


def test_a_program_that_repeats_its_input_has_said_nothing():
    told = json.dumps({"program": "p", "trials": [{"number": 1}], "files": {"base/a.py": ""}, "proposal_schema": {}})
    with pytest.raises(ProposalError, match="got none"):
        json_object(f"user\n{told}\n")


def test_any_mixture_of_words_holds_its_last_proposal():
    """Words of prose, code and JSON in any order before it, and words without edits after it."""
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
        assert GOOD in objects(text).with_edits, text
        assert json_object(text) == GOOD, text


@pytest.mark.parametrize(
    ("harm", "place"),
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
def test_what_breaks_off_is_named_with_line_and_column(harm, place):
    text = f"Here it is:\n\n```json\n{json.dumps(GOOD, indent=2)}"
    with pytest.raises(ProposalError, match=place):
        json_object(harm(text))


def test_an_example_does_not_stand_for_an_answer_that_is_cut_off():
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
def test_any_text_is_read_in_one_pass(unit, monkeypatch):
    """Every character is decoded about once: what the decoder is given again is what lies before an error."""
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
    assert not objects(text).with_edits
    assert read <= 2 * len(text)


def test_the_end_of_a_long_log_is_what_counts():
    assert json_object("x" * (2 * MOST_CHARACTERS) + ANSWER) == GOOD


def test_what_an_agent_was_told_is_no_title():
    """Codex repeats its input on stderr: the rows of the run have titles too."""
    told = json.dumps({"trials": [{"number": 3, "title": "old", "hypothesis": "h"}], "parent": "a" * 40})
    row = '{"number": 4, "title": "older"}'
    assert last_titled(f"user\n{told}\n{row}\ncodex\nI raised the rate.\n") is None
    assert last_titled(f'{told}\n{row}\n{{"title": "mine"}}\ntokens used: {{"total": 3}}')["title"] == "mine"
