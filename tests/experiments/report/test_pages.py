"""Tests of the report in a real browser: from disk, without a network, on a desktop and on a phone."""

import re
import shutil
from pathlib import Path

import pytest
from helpers.tiny_profile import proposal

from experiments.report.pages import write
from experiments.run.layout import open_ledger
from experiments.run.run import open_run
from experiments.runner.job import UNLIMITED
from experiments.trial.trial import run_trial

HOSTILE = "<img src=x onerror=\"document.title='owned'\"> & </script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def root(measured_repo, tmp_path_factory) -> Path:
    """A repository with a run of three ideas: one is measured, one contains markup, one does not apply."""
    folder = shutil.copytree(measured_repo, tmp_path_factory.mktemp("three") / "repo", symlinks=True)
    run = open_run(folder, "night", "tiny", lambda *_: None)
    worse = ("base/config.py", '"smoothing": 0.5', '"smoothing": 8.0')
    run_trial(run, proposal(run, worse, title="Smooth far more"), UNLIMITED)
    run_trial(run, proposal(run, ("base/model.py", "no such text", HOSTILE), title=HOSTILE), UNLIMITED)
    run_trial(run, proposal(run, ("base/absent.py", "a", "b"), title="Of no file"), UNLIMITED)
    run.close()
    return folder


@pytest.fixture(scope="module")
def index(root) -> Path:
    """The report of that run."""
    return write(root, "night")


def titles(browser) -> list[str]:
    rows = browser.find_elements("css selector", "#trials tbody tr")
    return [row.find_element("css selector", ".title").text for row in rows if row.is_displayed()]


def numbers(browser) -> list[str]:
    rows = browser.find_elements("css selector", "#trials tbody tr")
    return [row.find_element("css selector", "td").text for row in rows if row.is_displayed()]


def test_pages_work_and_show_hostile_text_as_text(index, browser):
    from selenium.webdriver.support.select import Select

    browser.get(index.as_uri())
    assert HOSTILE in titles(browser)
    assert browser.title.endswith("caddie")
    assert len(browser.find_elements("css selector", ".chart .main-svg")) >= 2, "the charts are drawn"
    assert not browser.find_elements("css selector", "img")

    assert numbers(browser) == ["0000", "0001", "0002", "0003"]
    browser.find_element("css selector", "#trials th").click()
    browser.find_element("css selector", "#trials th").click()
    assert numbers(browser) == ["0003", "0002", "0001", "0000"]
    bpb = next(head for head in browser.find_elements("css selector", "#trials th") if head.text.startswith("bpb"))
    bpb.click()
    shown = [
        row.get_attribute("data-value") for row in browser.find_elements("css selector", "#trials td:nth-child(6)")
    ]
    values = [float(value) for value in shown if value]
    assert values == sorted(values)
    assert shown[len(values) :] == [""] * (4 - len(values)), "empty values sort last"

    browser.find_element("id", "search").send_keys("far more")
    assert titles(browser) == ["Smooth far more"]
    browser.find_element("id", "search").clear()
    browser.find_element("id", "search").send_keys(" ")
    Select(browser.find_element("id", "verdict")).select_by_visible_text("bad_diff")
    assert len(titles(browser)) == 2

    for page in sorted((index.parent / "trials").glob("*.html")):
        browser.get(page.as_uri())
        assert browser.find_element("tag name", "h1").text
        for link in browser.find_elements("css selector", "a"):
            target = link.get_attribute("href").removeprefix("file://")
            assert Path(target).exists(), f"{page.name} links to {target}"
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_the_screen(index, browser, width):
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    for page in (index, index.parent / "trials" / "0001.html", index.parent / "trials" / "0002.html"):
        browser.get(page.as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width, page.name
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_page_is_written_only_if_something_on_it_has_changed(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "repo", symlinks=True)
    folder = write(copy, "night").parent / "trials"
    pages = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    write(copy, "night")
    assert pages == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    ledger = open_ledger(copy, "night")
    ledger.add_ablation(1, "base/config.py:1", [0.01], "")
    ledger.close()
    write(copy, "night")
    now = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {name for name in pages if pages[name] != now[name]} == {"0001.html", "0001.curves.js"}


def test_a_report_loads_nothing_from_outside_its_folder(index):
    for page in [index, *(index.parent / "trials").glob("*.html")]:
        text = page.read_text()
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', text)
        assert HOSTILE not in text
