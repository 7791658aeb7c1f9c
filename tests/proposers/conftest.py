"""The LLM proposer as tests use it: its pauses are noted, not slept."""

import pytest

from proposers import Options
from proposers.anthropic_api import Anthropic


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
