"""What a proposer tells whoever watches: the loop shows lines of its stderr that begin with the word."""

import sys

from experiments.asking import NOTE
from preflight.text import one_line


def note(line: str) -> None:
    print(f"{NOTE}{one_line(line, 300)}", file=sys.stderr, flush=True)
