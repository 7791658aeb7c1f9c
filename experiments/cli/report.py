"""The command `report`: write a run as a folder of HTML pages."""

from pathlib import Path

from rich.text import Text

from common.errors import CaddieError
from common.text import one_line
from experiments.cli.console import screen
from experiments.cli.options import Name, Root


def report(name: Name = "demo", root: Root = Path()) -> None:
    """Write the run as web pages to trials/RUN/report. Example: python -m experiments report

    A browser opens them from disk. `run` updates them after every trial; this command writes only what has changed.
    """
    screen().print(Text(str(update_report(root, name))), soft_wrap=True)


def update_report(root: Path, run: str) -> Path:
    """Write what has changed and return the path of index.html; raises CaddieError."""
    from jinja2 import TemplateError

    from experiments.report.pages import write

    try:
        return write(root, run)
    except TemplateError as error:
        raise CaddieError(f"the report could not be written: {one_line(str(error))}") from error
