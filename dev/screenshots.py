"""Take the README's screenshots of a run: the report on a desktop and on a phone, and `status` in a terminal.

    python -m dev.screenshots night .

Needs chromium and chromedriver, like the report's tests.
"""

import argparse
import base64
import tempfile
from pathlib import Path

from rich.console import Console

from dev.chromium import chromium
from experiments.cli import tables
from experiments.report.pages import write
from experiments.run.layout import open_ledger

IMAGES = Path(__file__).parent.parent / "docs" / "images"
DESKTOP, PHONE, TERMINAL = (1280, 1480), (390, 900), (1180, 10_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the run to show")
    parser.add_argument("root", nargs="?", type=Path, default=Path(), help="the repository that holds base/")
    options = parser.parse_args()
    run, root = options.run, options.root
    IMAGES.mkdir(parents=True, exist_ok=True)
    page = write(root, run)
    take_screenshot(page, IMAGES / "report-1280.png", *DESKTOP)
    take_screenshot(page, IMAGES / "report-390.png", *PHONE)
    with tempfile.TemporaryDirectory() as scratch:
        terminal = Path(scratch) / "status.html"
        terminal.write_text(status(root, run), encoding="utf-8")
        take_screenshot(terminal, IMAGES / "terminal.png", *TERMINAL)


def status(root: Path, run: str) -> str:
    """Render the output of `status` as an HTML page."""
    ledger = open_ledger(root, run)
    console = Console(record=True, width=130, force_terminal=True, file=Path("/dev/null").open("w"))
    tables.summary(console, run, ledger)
    code = '<pre style="font:14px/1.45 ui-monospace,Menlo,Consolas,monospace;margin:0">{code}</pre>'
    style = (
        "body{{margin:0;padding:20px 24px;background:{background};color:{foreground};width:max-content}}{stylesheet}"
    )
    frame = "<html><head><meta charset=utf-8><style>" + style + "</style></head><body>" + code + "</body></html>"
    return console.export_html(code_format=frame)


def take_screenshot(page: Path, image: Path, width: int, max_height: int) -> None:
    """Save a screenshot of a page at its full height, up to `max_height`."""
    browser = chromium(width)
    try:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(page.resolve().as_uri())
        height = min(max_height, browser.execute_script("return document.documentElement.scrollHeight"))
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        image.write_bytes(base64.b64decode(shot["data"]))
    finally:
        browser.quit()


if __name__ == "__main__":
    main()
