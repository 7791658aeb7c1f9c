"""A small tree for the command proposer to edit, and an answer that applies to it."""

from preflight.source.tree import PLAIN, Source

TREE = {
    "base/a.py": Source(PLAIN, b"x = 1\ny = 2\n"),
    "base/model/b.py": Source(PLAIN, b"z = 3\n"),
    "base/__main__.py": Source(PLAIN, b""),
}
EDIT = {"path": "base/a.py", "search": "x = 1", "replace": "x = 5"}
ANSWER = {"title": "five", "hypothesis": "h", "class": "schedule", "expected_delta_bpb": -0.1, "edits": [EDIT]}
