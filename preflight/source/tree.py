"""A candidate's tree as data, path -> mode and bytes, read from a folder without following links."""

import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common import limits
from common.errors import Refused
from common.state import State


@dataclass(frozen=True)
class Source:
    """One entry of a tree; `mode` is git's, 100644 for a plain file."""

    mode: str
    content: bytes

    @property
    def text(self) -> str:
        """The source as Python reads it, UTF-8 with an optional byte order mark; raises UnicodeDecodeError."""
        return self.content.decode("utf-8-sig")


Tree = dict[str, Source]  # "base/model/gpt.py" -> Source

PLAIN = "100644"
LINK = "120000"


def read_folder(root: Path, wanted: Callable[[str], bool] = lambda _: True) -> Tree:
    """Read the `wanted` files of `root`/base, without caches and with links as links; raises Refused."""
    tree: Tree = {}
    if not stat.S_ISDIR((root / "base").lstat().st_mode if (root / "base").exists() else 0):
        raise Refused(State.STATIC, "base: expected a folder, not a link")
    for path in sorted((root / "base").rglob("*")):
        name = path.relative_to(root).as_posix()
        info = path.lstat()
        if stat.S_ISDIR(info.st_mode) or "__pycache__" in path.parts or not wanted(name):
            continue
        if stat.S_ISLNK(info.st_mode):
            tree[name] = Source(LINK, str(path.readlink()).encode())
        elif not stat.S_ISREG(info.st_mode) or info.st_size > limits.FILE_BYTES:
            raise Refused(State.STATIC, f"{name}: expected a plain file of at most {limits.FILE_BYTES} bytes")
        else:
            tree[name] = Source("100755" if info.st_mode & 0o111 else PLAIN, path.read_bytes())
    return tree
