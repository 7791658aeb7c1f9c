"""The README's pictures, from a run: the report on a desk and on a phone, and `status` in a terminal.

    python -m dev.screenshots night .

Needs chromium and chromedriver, as the report's tests do.
"""

import base64
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from selenium import webdriver

from experiments import view
from experiments.outlook import outlook
from experiments.report.pages import write
from experiments.runs import open_ledger, profile_of

IMAGES = Path(__file__).parent.parent / "docs" / "images"
DESK, PHONE, TERMINAL = (1280, 1480), (390, 900), (1180, 10_000)


def main() -> None:
    run, root = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else ".")
    IMAGES.mkdir(parents=True, exist_ok=True)
    page = write(root, run)
    shoot(page, IMAGES / "report-1280.png", *DESK)
    shoot(page, IMAGES / "report-390.png", *PHONE)
    with tempfile.TemporaryDirectory() as scratch:
        terminal = Path(scratch) / "status.html"
        terminal.write_text(status(root, run), encoding="utf-8")
        shoot(terminal, IMAGES / "terminal.png", *TERMINAL)


def status(root: Path, run: str) -> str:
    """What `status` prints, as a page."""
    ledger = open_ledger(root, run)
    console = Console(record=True, width=130, force_terminal=True, file=Path("/dev/null").open("w"))
    view.summary(console, run, ledger.rows(), [*outlook(ledger, profile_of(ledger))])
    code = '<pre style="font:14px/1.45 ui-monospace,Menlo,Consolas,monospace;margin:0">{code}</pre>'
    style = (
        "body{{margin:0;padding:20px 24px;background:{background};color:{foreground};width:max-content}}{stylesheet}"
    )
    frame = "<html><head><meta charset=utf-8><style>" + style + "</style></head><body>" + code + "</body></html>"
    return console.export_html(code_format=frame)


def shoot(page: Path, image: Path, width: int, most_height: int) -> None:
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(page.resolve().as_uri())
        height = min(most_height, browser.execute_script("return document.documentElement.scrollHeight"))
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        image.write_bytes(base64.b64decode(shot["data"]))
    finally:
        browser.quit()


if __name__ == "__main__":
    main()
