"""Build a corpus: `python -m data pocket | prepare | tokenize`."""

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from common.errors import CaddieError, DataError
from common.terminal import escape_unencodable_output
from data import documents, fineweb, pocket
from data.build import load_tokenizer, replace_folder, train_tokenizer, write_corpus
from data.corpus import Corpus
from data.hub import Progress

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)
console = Console(highlight=False)


@app.callback()
def commands() -> None:
    """Build the token shards that trials learn from and are scored on."""


@app.command("pocket")
def build_pocket(
    folder: Annotated[Path, typer.Option(help="where the corpus goes")] = Path("shards/pocket"),
    offline: Annotated[bool, typer.Option(help="use the installed Python's source, download nothing")] = False,
) -> None:
    """Build the pocket corpus: documentation prose, 1,024 pieces, a few seconds. Example: python -m data pocket"""
    try:
        corpus = pocket.build(folder, offline)
    except CaddieError as error:
        if offline:
            raise
        typer.echo(f"{error}\nfalling back to the installed Python's own source, which trials can read")
        corpus = pocket.build(folder, offline=True)
    print_summary(corpus)


@app.command()
def prepare(
    variant: Annotated[str, typer.Option(help="one of " + ", ".join(fineweb.VARIANTS))] = "sp1024",
    train_shards: Annotated[int, typer.Option(min=1, help="shards of 100 M tokens (0.2 GB) to train on")] = 80,
    folder: Annotated[Path | None, typer.Option(help="where the corpus goes; default shards/VARIANT")] = None,
) -> None:
    """Download the challenge's FineWeb shards from the Hugging Face hub; run it again to resume a broken download.

    Example: python -m data prepare --variant sp1024 --train-shards 10
    """
    with ConsoleProgress() as progress:
        corpus = fineweb.prepare(variant, folder or Path("shards") / variant, train_shards, progress)
    print_summary(corpus)


@app.command()
def tokenize(
    source: Annotated[
        Path,
        typer.Argument(help="a folder of .txt, .md, .rst and .jsonl files, also .gz .bz2 .xz .zst, or one such file"),
    ],
    out: Annotated[Path, typer.Option(help="where the corpus goes")] = Path("shards/text"),
    tokenizer: Annotated[Path | None, typer.Option(help="a SentencePiece model; default: one is trained")] = None,
    vocab_size: Annotated[int, typer.Option(min=260, max=65_535, help="pieces of a trained tokenizer")] = 1024,
    skip_refused: Annotated[
        bool, typer.Option("--skip-refused", help="continue without the files and lines that cannot be read")
    ] = False,
) -> None:
    """Build a corpus from your own text, split by whole documents; all of it is read into memory.

    A table says what was taken, fixed, skipped and refused.
    Example: python -m data tokenize ~/notes --out shards/notes
    """
    source_path, out_path = source.resolve(), out.resolve()
    if source_path.is_relative_to(out_path) or out_path.is_relative_to(source_path):
        raise DataError(
            f"got --out {out} for text in {source}, expected neither inside the other: --out is replaced as a whole"
        )
    if tokenizer:
        load_tokenizer(tokenizer)
    reading = documents.survey(source)
    for line in reading.table():
        typer.echo(line)
    if reading.refused and not skip_refused:
        raise DataError(
            f"{reading.refused[0]} (and everything else refused above); fix or move it, or pass --skip-refused"
        )
    texts = reading.documents
    model = tokenizer.read_bytes() if tokenizer else train_tokenizer(texts, vocab_size)
    readable = any(source_path.is_relative_to(path) for path in ("/usr", sys.prefix, sys.base_prefix))
    title = f"{len(texts)} documents of {documents.printable(Path(source_path.name))}"
    with replace_folder(out) as work:
        write_corpus(work, out.name, texts, model, title, readable)
    print_summary(Corpus.open(out))


def print_summary(corpus: Corpus) -> None:
    """Print the source and size of a corpus on one line."""
    manifest = corpus.manifest
    totals = ", ".join(f"{split} {count:,}" for split, count in manifest.tokens.items())
    size = f"{sum(manifest.text_bytes.values()):,} bytes of text"
    unknown = f", {manifest.unknown_tokens:,} of them unknown" if manifest.unknown_tokens else ""
    typer.echo(f"{corpus.folder.name}: {manifest.source}; {size}; tokens: {totals}{unknown}")


class ConsoleProgress(Progress, AbstractContextManager["ConsoleProgress"]):
    """A progress bar with gigabytes and remaining time; plain lines without a terminal."""

    def __init__(self) -> None:
        columns = (TextColumn("shards"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self.bar = Bar(*columns, console=console, disable=not console.is_terminal)
        self.task = self.bar.add_task("shards", total=None)
        self.done_bytes = self.total_bytes = self.printed_percent = 0

    def __enter__(self) -> "ConsoleProgress":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def start(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.say(f"{total_bytes / 1e9:.2f} GB to download")
        self.bar.update(self.task, total=total_bytes)

    def advance(self, bytes_count: int) -> None:
        self.bar.advance(self.task, bytes_count)
        self.done_bytes += bytes_count
        percent = 10 * (10 * self.done_bytes // max(self.total_bytes, 1))
        if not console.is_terminal and percent > self.printed_percent:
            self.printed_percent = percent
            self.say(f"{percent} % of {self.total_bytes / 1e9:.2f} GB")

    def say(self, line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)


def main() -> None:
    escape_unencodable_output()
    try:
        app()
    except (CaddieError, OSError) as error:
        typer.echo(str(error), err=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
