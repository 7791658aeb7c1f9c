"""Tests of what a person does on the report's pages: clicks, views, and loss curves over one another."""

from statistics import fmean

import pytest
from helpers.report_page import chart

from experiments.report.trial_charts import POINTS


def test_a_click_on_a_dot_opens_the_trial(page):
    from selenium.webdriver import ActionChains

    element = chart(page, "Progress")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    dot = element.find_elements("css selector", ".scatterlayer .trace .points path")[0]
    ActionChains(page).move_to_element(dot).click().perform()
    assert page.current_url.endswith("/trials/0000.html")


def test_progress_has_two_views(page):
    element = chart(page, "Progress")
    read = "return JSON.stringify(arguments[0].data.map((trace) => trace.y))"
    before = page.execute_script(read, element)
    paired, measured = page.find_elements("css selector", ".views button")
    measured.click()
    assert page.execute_script(read, element) != before
    assert measured.get_attribute("aria-pressed") == "true"
    paired.click()
    assert page.execute_script(read, element) == before


def test_loss_curves_of_chosen_trials_are_laid_over_one_another(page, measured):
    from selenium.webdriver.support.wait import WebDriverWait

    field, element = page.find_element("id", "overlay"), page.find_element("id", "overlay-chart")

    def names(_=None):
        return page.execute_script("return (arguments[0].data || []).map((trace) => trace.name)", element)

    field.clear()
    field.send_keys(f"{measured[0]}, {measured[1]}, 4711")
    first, second = (f"{number:04d}" for number in measured[:2])
    WebDriverWait(page, 20).until(lambda _: sorted(names()) == [first, second])
    WebDriverWait(page, 20).until(lambda _: "no loss curve of 4711" in page.find_element("id", "overlay-problem").text)
    losses = page.execute_script("return arguments[0].data.map((trace) => trace.y)", element)
    assert 0 < len(losses[0]) <= POINTS
    page.find_element("id", "overlay-difference").click()
    WebDriverWait(page, 20).until(lambda _: names() == [second, first])
    differences = page.execute_script("return arguments[0].data.map((trace) => trace.y)", element)
    assert set(differences[0]) == {0}
    assert differences[1] == pytest.approx([own - last for last, own in zip(*losses, strict=True)])


def test_a_trials_page_starts_with_its_own_and_the_incumbents_curve(browser, made_up, measured):
    from selenium.webdriver.support.wait import WebDriverWait

    browser.get((made_up[1].parent / "trials" / f"{measured[0]:04d}.html").as_uri())
    element = browser.find_element("id", "overlay-chart")
    names = "return (arguments[0].data || []).map((trace) => trace.name)"
    own = f"{measured[0]:04d}"
    WebDriverWait(browser, 20).until(lambda _: browser.execute_script(names, element) == ["0000", own])
    seeds = browser.find_element("id", "seeds")
    drawn = browser.execute_script("return arguments[0].data.map((trace) => trace.x)", seeds)
    assert drawn[1] == pytest.approx([fmean(drawn[0])], abs=2e-6)
