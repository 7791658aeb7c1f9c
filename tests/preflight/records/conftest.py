"""Fixtures of the record checks."""

from pathlib import Path

import pytest
from helpers.record_folder import make_record


@pytest.fixture
def folder(tmp_path) -> Path:
    """A record that passes every check."""
    return make_record(tmp_path)
