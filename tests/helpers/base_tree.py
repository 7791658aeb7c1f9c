"""The tree of the real base/, and copies of it with one file changed."""

from helpers.tiny_profile import ROOT

from preflight.source.tree import PLAIN, Source, Tree, read_folder

BASE = read_folder(ROOT)


def with_file(path: str, content: str | bytes = b"x = 1\n", mode: str = PLAIN) -> Tree:
    """Return the tree with one file added or replaced."""
    return {**BASE, path: Source(mode, content.encode() if isinstance(content, str) else content)}
