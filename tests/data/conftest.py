"""Shared fixtures: a folder of ordinary text."""

import pytest
from helpers.text_files import prose


@pytest.fixture
def text_folder(tmp_path):
    """Enough ordinary text that no other file is a large share of it."""
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number}.txt").write_text(prose(number))
    return folder
