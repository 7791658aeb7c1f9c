"""Opening a run: one controller at a time."""

import os

import pytest
from helpers.runs import start_run

from common.errors import CaddieError


def test_a_lock_names_its_holder(run):
    with pytest.raises(CaddieError, match=rf"run night is in use by pid {os.getpid()} \(.*\), since 20\d\d-"):
        start_run(run.workspace.root)
