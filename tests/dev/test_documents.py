"""Tests of the documentation: the command reference is current, and its commands and links exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.tiny_profile import ROOT

from dev.commands import PAGE
from experiments.cli.app import app

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_command_reference_is_current(monkeypatch):
    """In a separate process: the tests add a profile of their own, which a help text would list."""
    monkeypatch.delenv("PYTHONPATH")
    done = subprocess.run([sys.executable, "-m", "dev.commands"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert PAGE.read_text("utf-8") == done.stdout, "run python -m dev.commands --write"


def commands(page: Path) -> set[str]:
    """Return every command in a page's shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), flags=re.S)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return {line for line in lines if line and line[0] != "#"}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_every_command_of_a_page_exists(page):
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    for command in commands(page):
        words = shlex.split(command, comments=True)
        if "experiments" in words and "-m" in words:
            assert words[words.index("experiments") + 1] in names, command
        if words[0] == "make":
            target = words[1]
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.M), command


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_exists(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
    for target in re.findall(r'<img src="([^"]+)"', page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
