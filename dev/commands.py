"""The command reference, from what `--help` says: `python -m dev.commands --write` renews docs/commands.md."""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import typer
from typer.testing import CliRunner

from data.__main__ import app as data_app
from experiments.cli import app as experiments_app
from preflight.__main__ import check_records
from preflight.__main__ import main as check_tree

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "commands.md"
WIDTH = "100"
PLAIN = {"COLUMNS": WIDTH, "TERM": "dumb", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/commands.md instead of printing it")
    if parser.parse_args().write:
        PAGE.write_text(reference(), encoding="utf-8")
    else:
        sys.stdout.write(reference())
    return 0


def reference() -> str:
    """The whole page."""
    opening = "What `--help` says of each, word for word: `python -m dev.commands --write` makes this page and"
    parts = [f"# Commands\n\n{opening}\na test keeps it so. From a checkout, `python` is `.venv/bin/python`.\n"]
    for title, text in helps():
        body = "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
        parts.append(f"## `{title}`\n\n```\n{body}\n```\n")
    return "\n".join(parts)


def helps() -> Iterator[tuple[str, str]]:
    """(command, its help), in the order in which a person meets them."""
    loop = subprocess.run([ROOT / "loop.sh", "--help"], capture_output=True, text=True, check=True)
    yield "./loop.sh", loop.stdout
    yield from _commands("python -m experiments", experiments_app)
    yield from _single("python -m preflight", check_tree)
    yield from _single("python -m preflight record", check_records)
    yield from _commands("python -m data", data_app)


def _commands(program: str, app: typer.Typer) -> Iterator[tuple[str, str]]:
    for one in app.registered_commands:
        name = one.name or str(one.callback and one.callback.__name__).replace("_", "-")
        yield f"{program} {name}", _help(app, program, name)


def _single(program: str, function: object) -> Iterator[tuple[str, str]]:
    app = typer.Typer(add_completion=False)
    app.command()(function)  # type: ignore[type-var]
    yield program, _help(app, program)


def _help(app: typer.Typer, program: str, *names: str) -> str:
    done = CliRunner().invoke(app, [*names, "--help"], prog_name=program, env=PLAIN)
    if done.exit_code:
        raise SystemExit(f"{program} {' '.join(names)} --help: {done.output}")
    return done.output


if __name__ == "__main__":
    sys.exit(main())
