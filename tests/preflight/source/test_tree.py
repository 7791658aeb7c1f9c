"""Tests of reading a tree from a folder."""

from preflight.source.tree import LINK, Source, read_folder


def test_a_folder_is_read_without_following_links(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "link.py").symlink_to("/etc/passwd")
    (source,) = read_folder(tmp_path).values()
    assert source == Source(LINK, b"/etc/passwd")
