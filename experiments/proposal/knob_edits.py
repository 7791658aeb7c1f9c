"""Knobs by name and value as a change of base/: of the preset's own literal, else of the declared default."""

import ast
from collections.abc import Iterator, Mapping

from common.errors import CaddieError
from common.text import one_line
from preflight.source.tree import PLAIN, Source, Tree

PRESET_FILES = ("base/presets.py", "base/recipes.py")
KNOB_FILES = ("base/evaluate/knobs.py", "base/config.py")


def with_values(tree: Tree, preset: str, values: Mapping[str, str]) -> Tree:
    """Return the tree with knobs of a preset set; raises CaddieError for a knob that is not found or ill typed.

    Example:
        >>> with_values(tree, "pocket", {"eval_stride": "32", "ngram_order": "5"})
    """
    for name, text in values.items():
        path, node = next(_literals(tree, preset, name), (None, None))
        if path is None or node is None:
            raise CaddieError(f"no knob {one_line(name, 60)} in {' or '.join(KNOB_FILES)}; `knobs` lists them")
        lines = tree[path].text.splitlines(keepends=True)
        if node.end_lineno != node.lineno:
            raise CaddieError(f"{path}:{node.lineno}: expected the value of {name} on one line; edit it by hand")
        line = lines[node.lineno - 1].encode()
        value = repr(_parsed(name, text, node.value)).encode()
        lines[node.lineno - 1] = (line[: node.col_offset] + value + line[node.end_col_offset :]).decode()
        tree = {**tree, path: Source(PLAIN, "".join(lines).encode())}
    return tree


def _literals(tree: Tree, preset: str, name: str) -> Iterator[tuple[str, ast.Constant]]:
    """Yield where a knob's value stands, the preset's own first."""
    for path in filter(tree.__contains__, PRESET_FILES):
        for function in ast.parse(tree[path].content).body:
            if isinstance(function, ast.FunctionDef) and function.name == preset:
                for node in ast.walk(function):
                    if isinstance(node, ast.keyword) and node.arg == name and isinstance(node.value, ast.Constant):
                        yield path, node.value
    for path in filter(tree.__contains__, KNOB_FILES):
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
