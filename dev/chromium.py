"""A headless Chromium for screenshots, benchmarks and tests of the report: the system's, with its driver."""

import shutil

from selenium import webdriver

PROGRAM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
INSTALL = "apt-get install chromium chromium-driver"


def chromium(width: int = 1280) -> webdriver.Chrome:
    """Return a browser with a window of this width, which keeps what pages log; close it with `quit`."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(PROGRAM)
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    for argument in (*flags, f"--window-size={width},900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
