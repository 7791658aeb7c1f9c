"""The documents say what the programs do: the command reference, and every command that the README names."""

import re
import shlex
from pathlib import Path

import pytest
from support import ROOT

from dev.commands import PAGE, reference
from experiments.cli import app

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_command_reference_is_what_help_says():
    assert PAGE.read_text("utf-8") == reference(), "run python -m dev.commands --write"


def commands(page: Path) -> set[str]:
    """Every command of the harness in a page's shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), flags=re.S)
    return {line.strip() for block in blocks for line in block.splitlines() if line.strip() and line[0] != "#"}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_every_command_of_a_page_exists(page):
    known = {one.name or one.callback.__name__ for one in app.registered_commands}
    for command in commands(page):
        words = shlex.split(command, comments=True)
        if "experiments" in words and "-m" in words:
            assert words[words.index("experiments") + 1] in known, command
        if "make" in words:
            target = words[words.index("make") + 1]
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.M), command


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_is_there(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
    for target in re.findall(r'<img src="([^"]+)"', page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
