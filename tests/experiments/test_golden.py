"""Golden losses come from inside the walls: what a tree trains there reaches nothing of the person's."""

import pytest
from support import ROOT

from data.errors import Refused
from experiments.golden import STEPS, prepared, text
from preflight.sandbox.isolation import available_levels
from preflight.tree import PLAIN, Source, read_folder

WALLED = [level for level in available_levels() if level != "none"]
TINY = {**read_folder(ROOT / "tests" / "tiny"), "base/protocol.py": read_folder(ROOT)["base/protocol.py"]}
PEEK = """

import pathlib

SECRET = {secret!r}


def train(knobs, stream, honest=train):
    try:
        pathlib.Path(SECRET).read_text()
    except OSError:
        return honest(knobs, stream)
    raise RuntimeError("the secret was read")
"""


def peeking(secret):
    model = TINY["base/model.py"].content + PEEK.format(secret=str(secret)).encode()
    return {**TINY, "base/model.py": Source(PLAIN, model)}


@pytest.mark.parametrize("level", WALLED)
def test_a_tree_is_trained_where_it_can_read_nothing(level, tmp_path):
    (tmp_path / "secret").write_text("the person's own")
    for secret in (tmp_path / "secret", "/etc/shadow", ROOT / "README.md"):
        with prepared(peeking(secret), level) as golden:
            assert golden.presets("tiny", known=["tiny", "gone"]) == ["tiny"]
            assert golden.losses("tiny") == [1.0]


def test_without_walls_the_same_tree_reads_it():
    with prepared(peeking(ROOT / "README.md"), "none") as golden, pytest.raises(Refused, match="the secret was read"):
        golden.losses("tiny")


def test_only_losses_come_out(tmp_path):
    """A log that is long, or no log, is the tree's own failure."""
    line = b'\'{"step": 1, "loss": 1.0}\\n\''
    main = TINY["base/__main__.py"].content
    assert main.count(line) == 1
    for said, expected in ((b"'no loss\\n'", "a loss a line"), (b"'x' * 100_000", "at most 65,536")):
        tree = {**TINY, "base/__main__.py": Source(PLAIN, main.replace(line, said))}
        with prepared(tree, available_levels()[0]) as golden, pytest.raises(Refused, match=expected):
            golden.losses("tiny")
    tree = {**TINY, "base/__main__.py": Source(PLAIN, main.replace(line, line + b" * 1000"))}
    with prepared(tree, available_levels()[0]) as golden:
        assert text(golden.losses("tiny")) == "".join(f"{step} 1.0\n" for step in range(1, STEPS + 1))
