"""Tests of golden losses: a tree is trained in the sandbox, where it can read none of your files."""

import pytest
from helpers.tiny_profile import ROOT

from common.errors import Refused
from experiments.promotion.golden import STEPS, bundled, format_losses, moved, parse_losses
from preflight.sandbox.isolation.levels import available_levels
from preflight.source.tree import PLAIN, Source, read_folder

pytestmark = pytest.mark.sandbox
ISOLATED = [level for level in available_levels() if level != "none"]
TINY = {
    **read_folder(ROOT / "tests" / "fixtures" / "tiny_base"),
    "base/protocol.py": read_folder(ROOT)["base/protocol.py"],
}
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


@pytest.mark.parametrize("level", ISOLATED)
def test_a_tree_is_trained_where_it_can_read_nothing(level, tmp_path):
    (tmp_path / "secret").write_text("the person's own")
    for secret in (tmp_path / "secret", "/etc/shadow", ROOT / "README.md"):
        with bundled(peeking(secret), level) as golden:
            assert golden.presets("tiny", names=["tiny", "gone"]) == ["tiny"]
            assert golden.losses("tiny") == [1.0]


def test_without_isolation_the_same_tree_can_read_them():
    with bundled(peeking(ROOT / "README.md"), "none") as golden, pytest.raises(Refused, match="the secret was read"):
        golden.losses("tiny")


def test_only_losses_come_out(tmp_path):
    """A log that is too long or is no log is the tree's own failure."""
    line = b'\'{"step": 1, "loss": 1.0}\\n\''
    main = TINY["base/__main__.py"].content
    assert main.count(line) == 1
    for output, expected in ((b"'no loss\\n'", "a loss per line"), (b"'x' * 100_000", "at most 65,536")):
        tree = {**TINY, "base/__main__.py": Source(PLAIN, main.replace(line, output))}
        with bundled(tree, available_levels()[0]) as golden, pytest.raises(Refused, match=expected):
            golden.losses("tiny")
    tree = {**TINY, "base/__main__.py": Source(PLAIN, main.replace(line, line + b" * 1000"))}
    with bundled(tree, available_levels()[0]) as golden:
        assert format_losses(golden.losses("tiny")) == "".join(f"{step} 1.0\n" for step in range(1, STEPS + 1))


def test_losses_moved_if_they_differ_by_more_than_rounding():
    losses = [5.5, 4.25, 3.125]
    assert parse_losses(format_losses(losses)) == losses
    assert not moved(losses, [loss + 5e-5 for loss in losses])
    assert moved(losses, [5.5, 4.25, 3.126])
    assert moved(losses, losses[:2])
    assert moved(parse_losses("1 nothing\n2\n"), [1.0, 2.0])
