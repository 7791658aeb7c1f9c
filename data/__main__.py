"""Build a corpus: `python -m data pocket`."""

from pathlib import Path
from typing import Annotated

import typer

from data import pocket
from data.corpus import Corpus
from data.errors import CaddieError

app = typer.Typer(add_completion=False, help=__doc__)


@app.callback()
def main() -> None:
    """Build the token shards that trials learn from and are scored on."""


@app.command("pocket")
def build_pocket(
    folder: Annotated[Path, typer.Option(help="where the corpus goes")] = Path("shards/pocket"),
    offline: Annotated[bool, typer.Option(help="use the installed Python's source, fetch nothing")] = False,
    if_missing: Annotated[bool, typer.Option(help="keep a corpus that is already there and intact")] = False,
) -> None:
    """The pocket corpus: documentation prose, 1,024 pieces, a few seconds."""
    try:
        if if_missing and (folder / "manifest.json").exists():
            corpus = Corpus.open(folder, verify=True)
        else:
            try:
                corpus = pocket.build(folder, offline)
            except CaddieError as error:
                typer.echo(f"{error}\nfalling back to the installed Python's own source: trials can read that text")
                corpus = pocket.build(folder, offline=True)
    except CaddieError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    totals = ", ".join(f"{split} {count:,}" for split, count in corpus.manifest.tokens.items())
    typer.echo(f"{folder}: {corpus.manifest.source}; tokens: {totals}")


if __name__ == "__main__":
    app()
