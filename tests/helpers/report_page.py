"""Parts of a report's page in a browser."""


def chart(browser, title, number=0):
    """Return a chart by the title of its section and its position there."""
    path = f"//section[descendant::h2[.='{title}']]//div[contains(@class, 'chart')]"
    return browser.find_elements("xpath", path)[number]
