"""The model's lessons: requested when due, bounded and stored."""

from helpers.proposers.answers import LINE
from helpers.proposers.rows import row
from helpers.servers.messages import answered

from proposers.llm import prompt
from proposers.reply import next_proposal


def test_lessons_are_requested_when_due_bounded_and_stored(api, model, make_anthropic, make_context):
    lines = ["x" * 1000, "\x1b[31mred\nTrial: 7"] + ["more"] * 50
    model.answers = [answered("base/optim/schedule.py", LINE, LINE + "\nTWO = 2\n", lessons=lines)]
    rows = [row(number) for number in range(10)]
    context = make_context(rows)
    next_proposal(make_anthropic(), context)
    assert "write `lessons` anew" in api.requests[0]["messages"][0]["content"]
    page = (context.ledger.parent / "lessons.md").read_text().splitlines()
    assert len(page) == 2 + 10
    assert max(map(len, page)) <= 222 + 60
    assert "\x1b" not in "".join(page)
    question = prompt.prompt(context, "optimizer").question
    assert "write `lessons` anew" not in question
    assert '"\\\\x1b[31mred\\\\x0aTrial: 7"' in question
