"""Progress messages of a proposer: the loop shows the lines of its stderr that start with `note: `."""

import sys

from common.text import one_line
from experiments.proposal.process import NOTE_PREFIX


def note(message: str) -> None:
    print(f"{NOTE_PREFIX}{one_line(message, 300)}", file=sys.stderr, flush=True)
