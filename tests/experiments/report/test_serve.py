"""Tests of the local server of reports: what it serves, to whom, and that its pages renew themselves."""

import http.client
import shutil
import threading

import pytest

from common.errors import CaddieError
from experiments.ledger.store import Ledger
from experiments.report.serve import server


@pytest.fixture
def served(made_up, tmp_path):
    """The root of a copy of the run, and the port at which it is served."""
    root = tmp_path / "root"
    shutil.copytree(made_up[0], root)
    with server(root, 0) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        yield root, pages.server_port
        pages.shutdown()


def get(port, path, host="127.0.0.1", method="GET", site="same-origin"):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", f"{host}:{port}")
    connection.putheader("Sec-Fetch-Site", site)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read().decode("utf-8", "replace"), answer.headers


def test_reports_are_served_and_nothing_else_is(served):
    root, port = served
    assert "night/report/index.html" in get(port, "/")[1]
    assert get(port, "/night/report/trials/0007.html")[0] == 200
    assert get(port, "/night/report/assets/report.js")[0] == 200
    outside = (
        "/night/report/../ledger.sqlite",
        "/night/report/%2e%2e/ledger.sqlite",
        "/night/report/..%2fledger.sqlite",
    )
    for path in (*outside, "/night/ledger.sqlite", "/../base/a.py", "/night", "/*/report/index.html", "//etc/passwd"):
        assert get(port, path)[0] in (403, 404), path
    shutil.copytree(root / "trials" / "night", root / "trials" / "report")
    for path in (
        "/./report/ledger.sqlite",
        "/report/ledger.sqlite",
        "/night/report/pages.json",
        "/night/report/trials/",
    ):
        assert get(port, path)[0] == 404, path
    assert get(port, "/", host="evil.example")[0] == 403
    assert get(port, "/night/report/trials/0007.curves.js", site="cross-site")[0] == 403
    assert get(port, "http://[")[0] in (400, 404, 503)


def test_a_page_is_written_again_once_its_ledger_has_changed(served):
    root, port = served
    first = get(port, "/night/report/index.html", method="HEAD")[2]["Last-Modified"]
    assert get(port, "/night/report/index.html", method="HEAD")[2]["Last-Modified"] == first
    ledger = Ledger(root / "trials" / "night" / "ledger.sqlite")
    ledger.add_remark(7, "a remark of today")
    ledger.close()
    assert "a remark of today" not in (root / "trials" / "night" / "report" / "trials" / "0007.html").read_text()
    get(port, "/night/report/index.html", method="HEAD")
    assert "a remark of today" in get(port, "/night/report/trials/0007.html")[1]


def test_an_open_page_shows_a_change_and_keeps_what_was_typed(served, browser):
    from selenium.webdriver.support.wait import WebDriverWait

    root, port = served
    browser.get(f"http://127.0.0.1:{port}/night/report/index.html")
    browser.find_element("id", "search").send_keys("idea 12")
    ledger = Ledger(root / "trials" / "night" / "ledger.sqlite")
    wait = WebDriverWait(browser, 60)
    wait.until(lambda _: browser.execute_script("return window.polled >= 1"))
    identity = {"title": "a trial of today", "kind": "data", "hypothesis": "", "proposal": "{}", "parent": "0" * 40}
    identity |= {"profile": "pocket", "tier": "full", "sandbox_level": "namespace"}
    ledger.begin(at_least=0, trials_can_read_text=False, **identity)
    ledger.close()
    wait.until(lambda _: "a trial of today" in browser.page_source)
    assert browser.find_element("id", "search").get_attribute("value") == "idea 12"
    shown = [row for row in browser.find_elements("css selector", "#trials tbody tr") if row.is_displayed()]
    assert len(shown) == 1


def test_a_taken_port_and_a_folder_without_runs_are_one_line(served, tmp_path):
    root, port = served
    with pytest.raises(CaddieError, match=f"port {port}: .*choose another with --port"):
        server(root, port)
    with pytest.raises(CaddieError, match="start a run, or give --root"):
        server(tmp_path / "nowhere", 0)


def test_published_pages_hold_the_published_runs_alone(made_up, tmp_path):
    from experiments.report.pages import publish

    root = tmp_path / "root"
    shutil.copytree(made_up[0], root)
    shutil.copytree(root / "trials" / "night", root / "trials" / "secret")
    page = publish(root, "night", tmp_path / "site")
    assert "secret" not in page.read_text()
    assert {path.name for path in page.parent.iterdir()} == {"index.html", "night"}
    assert {path.name for path in (page.parent / "night").iterdir()} == {"report", "run.json"}
    publish(root, "secret", tmp_path / "site")
    assert "secret/report/index.html" in page.read_text()
    assert "night/report/index.html" in page.read_text()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text("my own site")
    with pytest.raises(CaddieError, match="another site's page"):
        publish(root, "night", tmp_path / "other")
