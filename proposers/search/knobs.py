"""Searchable knobs of a tree with the source positions of their values, parsed without running the tree.

matrix_lr: float = knob(0.025, "Muon, for the matrices", Range(0.005, 0.2, log=True))     in base/config.py, or of
                                                                   evaluation in base/evaluate/knobs.py
RANGES = {"pocket": {"ema_decay": Range(0.8, 0.995)}}                                       in base/presets.py
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace

from common.errors import NoProposal
from experiments.proposal.knob_edits import DECLARED_IN, Place, place_of, replaced
from preflight.source.tree import Tree

CONFIG, PRESETS = "base/config.py", "base/presets.py"
CLASSES = {  # class of a proposal by the section of config.py that declares the knob
    "Model": "architecture",
    "Optim": "optimizer",
    "Run": "schedule",
    "Average": "schedule",
    "Data": "data",
    "Quant": "quantization",
    "Pack": "compression",
    "Eval": "evaluation",
}
Value = float | int


@dataclass(frozen=True)
class Range:
    """The values of a knob, both ends included; mirrors `base.config.Range`."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    joint: bool = False


@dataclass(frozen=True)
class Knob:
    """A searchable knob with its value in one preset."""

    name: str
    kind: str  # class of a proposal that edits it
    range: Range
    value: Value
    place: Place


def declared(tree: Tree, preset: str) -> list[Knob]:
    """Return every knob with a range, in the order of the source.

    Raises:
        NoProposal: The source cannot be parsed, or declares no range.
    """
    try:
        files = [path for path in DECLARED_IN if path in tree or path == CONFIG]
        knobs = {knob.name: knob for path in files for knob in _knobs(_module(tree, path), path)}
        presets = _module(tree, PRESETS)
        for name, value in _preset_values(presets, preset):
            if name in knobs and (literal := _literal(value)) is not None:
                knobs[name] = replace(knobs[name], place=place_of(PRESETS, value), value=literal)
        for name, values in _preset_ranges(presets, preset):
            if name in knobs:
                knobs[name] = replace(knobs[name], range=values)
    except (SyntaxError, ValueError, TypeError, RecursionError) as error:
        raise NoProposal(f"{CONFIG}, {PRESETS}: expected knobs with ranges, got {error}") from error
    if not knobs:
        raise NoProposal(f"{CONFIG}: expected knobs with a Range, got none; declare one to search")
    return list(knobs.values())


def edited(tree: Tree, values: dict[Knob, Value]) -> Tree:
    """Return the tree with the knobs' literals replaced."""
    return replaced(tree, {knob.place: value for knob, value in values.items()})


def _module(tree: Tree, path: str) -> ast.Module:
    if path not in tree:
        raise ValueError(f"no {path}")
    return ast.parse(tree[path].content)


def _knobs(module: ast.Module, path: str) -> Iterator[Knob]:
    for section in [node for node in module.body if isinstance(node, ast.ClassDef)]:
        for field in section.body:
            match field:
                case ast.AnnAssign(
                    target=ast.Name(id=name),
                    value=ast.Call(func=ast.Name(id="knob"), args=[default, _, ast.Call() as values]),
                ) if (value := _literal(default)) is not None:
                    kind = CLASSES.get(section.name, "optimizer")
                    yield Knob(name, kind, _range(values), value, place_of(path, default))


def _preset_values(module: ast.Module, preset: str) -> Iterator[tuple[str, ast.expr]]:
    for function in module.body:
        if isinstance(function, ast.FunctionDef) and function.name == preset:
            for node in ast.walk(function):
                if isinstance(node, ast.keyword) and node.arg:
                    yield node.arg, node.value


def _preset_ranges(module: ast.Module, preset: str) -> Iterator[tuple[str, Range]]:
    for statement in module.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="RANGES")], value=ast.Dict(keys=presets, values=tables)):
                for key, table in zip(presets, tables, strict=True):
                    if isinstance(key, ast.Constant) and key.value == preset and isinstance(table, ast.Dict):
                        for name, values in zip(table.keys, table.values, strict=True):
                            if isinstance(name, ast.Constant) and isinstance(values, ast.Call):
                                yield str(name.value), _range(values)


def _range(call: ast.Call) -> Range:
    keywords = {keyword.arg or "**": ast.literal_eval(keyword.value) for keyword in call.keywords}
    values = Range(*[ast.literal_eval(argument) for argument in call.args], **keywords)
    if not values.low < values.high or (values.log and values.low <= 0):
        raise ValueError(f"Range({values.low}, {values.high}, log={values.log}) is empty")
    return values


def _literal(node: ast.expr) -> Value | None:
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
