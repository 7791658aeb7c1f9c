"""Generate the command reference from `--help`: `python -m dev.commands --write` updates docs/commands.md."""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import typer
from typer.testing import CliRunner

from data.__main__ import app as data_app
from experiments.cli.app import app as experiments_app
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
    """Return the whole page as Markdown."""
    opening = "The `--help` text of each command: `python -m dev.commands --write` generates this page, a test keeps"
    parts = [f"# Commands\n\n{opening}\nit current. In a checkout, `python` is `.venv/bin/python`.\n"]
    for title, text in help_texts():
        body = "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
        parts.append(f"## `{title}`\n\n```\n{body}\n```\n")
    return "\n".join(parts)


def help_texts() -> Iterator[tuple[str, str]]:
    """Yield (command, help text) in the order in which a new user meets the commands."""
    loop = subprocess.run([ROOT / "loop.sh", "--help"], capture_output=True, text=True, check=True)
    yield "./loop.sh", loop.stdout
    yield from _commands("python -m experiments", experiments_app)
    yield from _single("python -m preflight", check_tree)
    yield from _single("python -m preflight record", check_records)
    yield from _commands("python -m data", data_app)


def _commands(program: str, app: typer.Typer) -> Iterator[tuple[str, str]]:
    for command in app.registered_commands:
        name = command.name or str(command.callback and command.callback.__name__).replace("_", "-")
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
