"""The command `report`: write a run as a folder of HTML pages."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from common.errors import CaddieError
from common.text import one_line
from experiments.cli.console import screen
from experiments.cli.options import Name, Root


def report(
    name: Name = "demo",
    root: Root = Path(),
    folder: Annotated[
        Path | None, typer.Option("--publish", metavar="DIR", help="also copy them to DIR, for a web server")
    ] = None,
) -> None:
    """Write the run as web pages to trials/RUN/report. Example: python -m experiments report

    A browser opens them from disk. `run` updates them after every trial; this command writes only what has changed.
    `--publish DIR` also copies them to DIR and writes an index of the runs there.
    """
    if folder is None:
        page = update_report(root, name)
    else:
        from experiments.report.pages import publish

        folder.mkdir(parents=True, exist_ok=True)
        page = publish(root, name, folder)
    screen().print(Text(str(page)), soft_wrap=True)


def serve(
    root: Root = Path(),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="of 127.0.0.1; 0 takes a free one")] = 8765,
) -> None:
    """Serve the reports of all runs to this machine's browsers. Example: python -m experiments serve

    An open page renews itself within seconds of a change. Ctrl-C ends the server.
    """
    from experiments.report.serve import HOST, server

    with server(root, port) as pages:
        screen().print(Text(f"http://{HOST}:{pages.server_port}/  (Ctrl-C ends it)"), soft_wrap=True)
        try:
            pages.serve_forever()
        except KeyboardInterrupt:
            return


def update_index(root: Path) -> None:
    """Write the index of all runs."""
    from experiments.report.pages import write_runs

    write_runs(root.resolve())


def update_report(root: Path, run: str) -> Path:
    """Write what has changed and return the path of index.html; raises CaddieError."""
    from jinja2 import TemplateError

    from experiments.report.pages import write

    try:
        return write(root, run)
    except TemplateError as error:
        raise CaddieError(f"the report could not be written: {one_line(str(error))}") from error
