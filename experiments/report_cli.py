"""The command `report`: the run as a folder of pages, and its renewal while a run goes on."""

from pathlib import Path

from jinja2 import TemplateError
from rich.text import Text

from data.errors import CaddieError
from experiments import view
from experiments.runs import Name, Root
from preflight.text import one_line


def command(name: Name = "demo", root: Root = Path()) -> None:
    """The run as a folder that a browser opens from disk: trials/RUN/report. Example: python -m experiments report

    `run` renews it after every trial; this writes it again, what has changed only.
    """
    view.screen().print(Text(str(renew(root, name))), soft_wrap=True)


def renew(root: Path, run: str) -> Path:
    """Write what is new; Plotly is imported when the first page is made, not with every command."""
    from experiments.report.pages import write

    try:
        return write(root, run)
    except TemplateError as error:
        raise CaddieError(f"the report could not be written: {one_line(str(error))}") from error
