"""Tests of the report's charts: their values against slow twins, and each of them in a real browser."""

import json
import random
import re
import shutil

import pytest
from helpers.report_page import chart

from experiments.ledger.store import Ledger
from experiments.report.pages import write
from experiments.report.run_charts import pareto_front
from experiments.report.style import whole_ticks
from experiments.report.summary import summarize
from experiments.report.trial_charts import POINTS, curves_script
from experiments.run.layout import open_ledger
from experiments.run.machine import profile_of
from experiments.runner.curves import Point

TITLES = {
    "Progress", "Lineage", "Loss curves", "Cost against bits per byte", "Knobs", "Expected and measured",
    "Failures by reason", "Where the time went", "Limits of this run", "Limits of a trial",
}  # fmt: skip


def test_the_front_is_what_no_other_point_beats():
    rng = random.Random(3)
    points = [(rng.randint(0, 20), rng.randint(0, 20) / 4) for _ in range(60)]

    def beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)

    assert pareto_front(points) == sorted({point for point in points if not beaten(point)})


@pytest.mark.parametrize("last", [1, 3, 7, 60, 999, 20_000])
def test_ticks_are_whole_and_few(last):
    tick = whole_ticks(last)["dtick"]
    assert isinstance(tick, int)
    assert last / tick <= 10
    assert tick == 1 or last / tick > 3


def test_a_curve_that_is_not_finite_or_long_is_still_a_script():
    points = tuple(Point(step, float("nan") if step == 4 else 3.0) for step in range(5 * POINTS))
    script = curves_script(7, [(1, points)])
    number, data = script.removeprefix("addCurves(").removesuffix(");\n").split(", ", 1)
    (curve,) = json.loads(data)
    assert (number, curve["seed"], len(curve["losses"])) == ("7", 1, 5 * POINTS // 8)
    assert curve["steps"] == {"first": 0, "every": 8}
    uneven = json.loads(curves_script(7, [(1, (*points[:3], points[9]))])[13:-3])
    assert uneven[0]["steps"] == [0, 1, 2, 9]
    assert "NaN" not in script


@pytest.fixture(params=["1280 light", "1280 dark", "390 light", "390 dark"])
def view(request, browser, made_up):
    """The index at a width and in a color scheme."""
    width, scheme = request.param.split()
    size = {"width": int(width), "height": 844, "deviceScaleFactor": 1, "mobile": width == "390"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(made_up[1].as_uri())
    yield browser
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_every_chart_is_drawn_and_no_text_of_it_is_cut_off(view):
    assert TITLES <= {title.text for title in view.find_elements("css selector", "h2")}
    charts = view.find_elements("css selector", ".chart")
    assert len(charts) == len(view.find_elements("css selector", ".chart .main-svg:first-child"))
    outside = view.execute_script(
        """
        return [...document.querySelectorAll(".chart")].flatMap((chart) => {
          const frame = chart.getBoundingClientRect();
          return [...chart.querySelectorAll("text")]
            .map((text) => [text.textContent, text.getBoundingClientRect()])
            .filter(([, box]) => box.width && (box.left < frame.left - 1 || box.right > frame.right + 1))
            .map(([text]) => text);
        });
        """
    )
    assert outside == []
    assert view.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    for table in view.find_elements("css selector", ".scroll"):
        assert view.execute_script("return arguments[0].scrollWidth <= arguments[0].clientWidth + 1", table)
    assert [entry for entry in view.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_text_is_readable_in_both_color_schemes(view):
    """Contrast of text against the ground it is on, as WCAG 2.1 defines it: at least 4.5."""

    def luminance(color):
        channels = [int(value) / 255 for value in re.findall(r"\d+", color)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    paper, texts = view.execute_script(
        """
        const paper = getComputedStyle(document.querySelector("section:not(.tiles)")).backgroundColor;
        const fill = (text) => getComputedStyle(text).fill, color = (text) => getComputedStyle(text).color;
        const all = (names) => [...document.querySelectorAll(names)];
        const drawn = all(".chart .xtick text, .chart .legendtext, .chart .xtitle").map(fill);
        return [paper, [...drawn, ...all("section p, section td, h2, h3").map(color)]];
        """
    )
    for text in set(texts):
        light, dark = sorted((luminance(text), luminance(paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, paper)


@pytest.mark.parametrize("value", [1.7e308, -1.7e308, float("nan"), float("inf")])
def test_numbers_that_a_candidate_chose_leave_every_chart_drawn(value, made_up, tmp_path, browser):
    """Knobs and expectations as large as a float can be, or none at all."""
    root = shutil.copytree(made_up[0], tmp_path / "root")
    ledger = Ledger(root / "trials" / "night" / "ledger.sqlite")
    for number, sign in ((4, 1), (5, -1), (7, 1), (8, -1)):
        knobs = json.dumps({"matrix_lr": sign * value, "momentum": 0.9, "<b>" * 30: "x" * 5_000})
        values = (knobs, sign * value if abs(value) < 2e308 else None, number)
        ledger.connection.execute("UPDATE trials SET knobs = ?, expected_delta_bpb = ? WHERE number = ?", values)
    ledger.connection.commit()
    ledger.close()
    browser.get_log("browser")  # what earlier pages left
    browser.get(write(root, "night").as_uri())
    assert "could not be drawn" not in browser.page_source
    assert browser.find_element("id", "count").text.startswith("61 of 61")
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_paired_values_follow_the_lineage_and_not_the_order(made_up, tmp_path):
    """A trial counts from the one it was written against, whatever was kept or taken back in between."""
    root = shutil.copytree(made_up[0], tmp_path / "root")
    ledger = open_ledger(root, "night")
    profile = profile_of(ledger)
    before = {trial.row.number: trial.paired_bpb for trial in summarize("night", root, ledger, profile).trials}
    child = next(row for row in ledger.rows() if row.number > 21 and row.delta_bpb is not None)
    assert before[child.number] == pytest.approx(before[20] + child.delta_bpb)
    verdict = "INSERT INTO verdicts (trial, state, reason, taken_at) VALUES (20, 'reverted (person)', '', '')"
    ledger.connection.execute(verdict)
    ledger.connection.commit()
    summary = summarize("night", root, ledger, profile)
    after = {trial.row.number: trial.paired_bpb for trial in summary.trials}
    ledger.close()
    assert after[child.number] == before[child.number]
    shown = {row.number for generation in summary.generations for row in (generation.row, *generation.tried)}
    assert shown == {trial.row.number for trial in summary.trials}


def test_every_chart_shows_the_trials_that_it_is_about(page, made_up):
    """The dots of each chart are the ledger's trials, at the ledger's values."""
    ledger = open_ledger(made_up[0], "night")
    trials = {trial.row.number: trial for trial in summarize("night", made_up[0], ledger, profile_of(ledger)).trials}
    ledger.close()
    valued = {number for number, trial in trials.items() if trial.paired_bpb is not None}
    expected = {number for number in valued if trials[number].expected_bpb is not None and number}

    def dots(title, number=0):
        read = """return arguments[0].data.filter((trace) => trace.customdata)
            .flatMap((trace) => trace.customdata.map((n, i) => [n, trace.x[i], trace.y[i]]))"""
        return {int(number): (x, y) for number, x, y in page.execute_script(read, chart(page, title, number))}

    assert dots("Progress").keys() == dots("Lineage").keys() == trials.keys()
    for number, column in enumerate(("artifact_bytes", "train_seconds", "score_seconds")):
        shown = dots("Cost against bits per byte", number)
        assert shown.keys() == valued
        for trial, (x, y) in shown.items():
            point = (getattr(trials[trial].row, column), trials[trial].paired_bpb)
            assert (x, y) == pytest.approx(point, rel=1e-5)
    shown = dots("Expected and measured")
    assert shown.keys() == expected
    assert all(y == pytest.approx(trials[number].row.delta_bpb, rel=1e-5) for number, (_, y) in shown.items())
    names = page.execute_script("return arguments[0].data[0].y", chart(page, "Knobs"))
    varied = {"matrix_lr", "momentum", "layers", "warmdown_share", "ema_decay", "bits", "activation"}
    assert set(names) == varied, "head_dim is the same in all trials"
    lines = page.execute_script("return arguments[0].data.map((trace) => trace.x.length)", chart(page, "Knobs", 1))
    assert sum(lines) == len(valued) * (len(varied) + 1)  # a gap after each line
    most_important = names[-1]
    for trial, (x, _) in dots("Knobs", 2).items():
        value = json.loads(trials[trial].row.knobs)[most_important]
        assert x == (value if isinstance(value, str) else pytest.approx(value))
    counted = [int(cell.text) for cell in page.find_elements("css selector", ".failures td.num")]
    assert sum(counted) == sum(not trial.row.has_value for trial in trials.values())


def test_on_a_phone_parallel_coordinates_run_down_the_page(browser, made_up):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(made_up[1].as_uri())
    names = browser.execute_script("return arguments[0].layout.yaxis.ticktext", chart(browser, "Knobs", 1))
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert "matrix_lr" in names
