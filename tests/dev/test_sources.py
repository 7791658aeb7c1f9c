"""Conventions of the source tree."""

import re
import subprocess
from pathlib import Path

from helpers.tiny_profile import ROOT


def test_the_challenge_limits_are_in_one_place():
    """The challenge's numbers are in limits.py and nowhere else in the harness."""
    for folder in ("common", "preflight", "experiments", "proposers", "data"):
        for path in (ROOT / folder).rglob("*.py"):
            if path != ROOT / "common" / "limits.py":
                assert not re.search(r"16[_,]?000[_,]?000", path.read_text()), path


def test_the_tree_contains_no_path_of_a_machine():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        path = Path(ROOT / name)
        if path.suffix in (".py", ".md", ".sh", ".toml", ".txt", ".json") and path.exists():
            assert not re.search(r"(?<![\w.])/(work|farm|home/\w+|root)/", path.read_text()), name
