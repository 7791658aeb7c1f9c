"""A browser, and the report of a made-up run of sixty trials."""

import pytest

from dev.benchmarks.long_run.ledger import write_history, write_ledger
from dev.chromium import DRIVER, INSTALL, PROGRAM, chromium
from experiments.ledger.store import Ledger
from experiments.report.pages import write

TRIALS = 60


@pytest.fixture(scope="module")
def browser():
    if not PROGRAM or not DRIVER:
        pytest.skip(f"chromium and chromedriver are not installed ({INSTALL})")
    opened = chromium()
    yield opened
    opened.quit()


@pytest.fixture(scope="package")
def made_up(tmp_path_factory):
    """The repository of a run with all kinds of trials, and the report of it."""
    root = tmp_path_factory.mktemp("made_up")
    commits = write_history(root, TRIALS)
    write_ledger(root / "trials" / "night" / "ledger.sqlite", TRIALS, commits, curves=True)
    return root, write(root, "night")


@pytest.fixture
def page(browser, made_up):
    browser.get(made_up[1].as_uri())
    return browser


@pytest.fixture(scope="module")
def measured(made_up) -> list[int]:
    """The trials of the made-up run that have a value, the baseline aside."""
    ledger = Ledger(made_up[0] / "trials" / "night" / "ledger.sqlite")
    numbers = [row.number for row in ledger.rows() if row.has_value and row.number]
    ledger.close()
    return numbers
