"""Knobs by name and value as a change of base/: of the preset's own literal, else of the declared default."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from common.errors import CaddieError
from common.text import one_line
from preflight.source.tree import PLAIN, Source, Tree

DECLARED_IN = ("base/config.py", "base/evaluate/knobs.py")
PRESETS_IN = ("base/presets.py", "base/recipes.py")
KNOB_FILES = {*DECLARED_IN, *PRESETS_IN}


@dataclass(frozen=True)
class Place:
    """The position of a literal in the source."""

    path: str
    line: int  # from 0
    start: int  # byte offset in the line
    end: int


def place_of(path: str, node: ast.expr) -> Place:
    """Return where a literal of one line stands in a file."""
    assert node.end_col_offset is not None  # ast.parse always sets it
    return Place(path, node.lineno - 1, node.col_offset, node.end_col_offset)


def replaced(tree: Tree, values: Mapping[Place, object]) -> Tree:
    """Return the tree with literals replaced."""
    files: dict[str, list[bytes]] = {}
    for place in sorted(values, key=lambda place: (place.line, place.start), reverse=True):
        lines = files.setdefault(place.path, tree[place.path].content.splitlines(keepends=True))
        line = lines[place.line]
        lines[place.line] = line[: place.start] + repr(values[place]).encode() + line[place.end :]
    return {**tree, **{path: Source(PLAIN, b"".join(lines)) for path, lines in files.items()}}


def with_values(tree: Tree, preset: str, values: Mapping[str, str]) -> Tree:
    """Return the tree with knobs of a preset set; raises CaddieError for a knob that is not found or ill typed.

    Example:
        >>> with_values(tree, "pocket", {"eval_stride": "32", "ngram_order": "5"})
    """
    places: dict[Place, object] = {}
    for name, text in values.items():
        path, node = next(_literals(tree, preset, name), (None, None))
        if path is None or node is None:
            listed = "`python -m base describe` lists them"
            raise CaddieError(f"no knob {one_line(name, 60)} in {' or '.join(DECLARED_IN)}; {listed}")
        places[place_of(path, node)] = _parsed(name, text, node.value)
    return replaced(tree, places)


def _literals(tree: Tree, preset: str, name: str) -> Iterator[tuple[str, ast.Constant]]:
    """Yield where a knob's value stands, the preset's own first."""
    for path in filter(tree.__contains__, PRESETS_IN):
        for function in ast.parse(tree[path].content).body:
            if isinstance(function, ast.FunctionDef) and function.name == preset:
                for node in ast.walk(function):
                    if isinstance(node, ast.keyword) and node.arg == name and isinstance(node.value, ast.Constant):
                        yield path, node.value
    for path in filter(tree.__contains__, DECLARED_IN):
        for node in ast.walk(ast.parse(tree[path].content)):
            match node:
                case ast.AnnAssign(
                    target=ast.Name(id=found),
                    value=ast.Call(func=ast.Name(id="knob"), args=[ast.Constant() as value, *_]),
                ) if found == name:
                    yield path, value


def _parsed(name: str, text: str, now: object) -> object:
    """Return the value that a text means for a knob whose value is `now`."""
    switches: dict[str, object] = {"1": True, "true": True, "0": False, "false": False}
    try:
        if isinstance(now, bool):
            return switches[text.lower()]
        return text if isinstance(now, str) else type(now)(text)  # type: ignore[call-arg]
    except (KeyError, ValueError, TypeError) as error:
        raise CaddieError(f"{name}: expected {type(now).__name__}, got {one_line(text, 60)!r}") from error
