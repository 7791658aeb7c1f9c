"""A run with an LLM behind it: the local Messages API, whose answers a test decides, and the proposer that asks it."""

import pytest
from messages_api import KEY, MessagesApi

from proposers import Options
from proposers.anthropic_api import Anthropic


class Model:
    """Prepared answers in order, the last one for ever; each is text, a Reply, or a function of the request."""

    def __init__(self):
        self.answers = []

    def __call__(self, request):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(request) if callable(answer) else answer


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def api(model, monkeypatch):
    """The server on loopback; `api.now` is its clock."""
    with MessagesApi(model, clock=lambda: served.now) as served:
        served.now = 0.0
        for name, value in served.environment.items():
            monkeypatch.setenv(name, value)
        assert served.environment["ANTHROPIC_API_KEY"] == KEY
        yield served


@pytest.fixture
def asker(api):
    """Makes a proposer whose pauses are told, not slept."""

    def make(**options):
        for earlier in made:
            earlier.close()
        made.append(Anthropic(Options(**options), sleep=lambda seconds: made[-1].paused.append(seconds)))
        made[-1].paused = []
        return made[-1]

    made = []
    yield make
    for earlier in made:
        earlier.close()
