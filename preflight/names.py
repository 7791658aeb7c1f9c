"""One file's names against what base/ may name: every place in its syntax where one stands, however it is dressed."""

import ast

from data.state import State
from preflight.bindings import Bound, is_member
from preflight.finding import Finding
from preflight.text import one_line
from preflight.vocabulary import (
    BUILTINS,
    CALLS,
    CLASSES,
    COMPILE,
    DUNDERS,
    FRAMES,
    GRAPHS,
    LOOK_UP,
    MODULES,
    REFUSED,
    RUN,
)

BY_NAME = ("getattr", "setattr", "delattr")


def named(path: str, module: ast.Module, bound: Bound) -> list[Finding]:
    """What a file names that it may not; raises RecursionError for what is nested too deep."""
    visitor = Visitor(path, bound)
    visitor.visit(module)
    return visitor.findings


class Visitor(ast.NodeVisitor):
    """Walks one file; what is refused goes to `findings`."""

    def __init__(self, path: str, bound: Bound) -> None:
        self.path, self.bound, self.names = path, bound, bound.of(path)
        self.findings: list[Finding] = []
        self.scopes: list[ast.AST] = []  # functions and classes around the place that is read

    def refuse(self, node: ast.AST, got: str, expected: str) -> None:
        self.findings.append(Finding(State.STATIC, self.path, one_line(got, 120), expected, getattr(node, "lineno", 0)))

    def attribute(self, node: ast.AST, name: str) -> None:
        """A name after a dot, or one that stands for it."""
        dunder = name.startswith("__") and name.endswith("__") and name not in DUNDERS
        if name == "compile" and isinstance(node, ast.Call | ast.ImportFrom):
            self.refuse(node, f"{name} by its name", "a call or a decorator after a dot")
        if name in REFUSED or dunder:
            self.refuse(node, name, REFUSED.get(name, FRAMES))

    def dotted(self, node: ast.AST, name: str, imported: bool = False) -> None:
        """A name that begins with a module: every step is a listed module, and at the end a member it may have."""
        for one in sorted(self.bound.through(name)):
            root, *steps = one.split(".")
            while steps and (f"{root}.{steps[0]}" in MODULES or f"{root}.{steps[0]}" in self.bound.paths):
                root += "." + steps.pop(0)
            if root.partition(".")[0] == "base":
                if root in self.bound.paths and not steps and not imported:
                    self.refuse(node, f"{root} as a value", "a module only before a dot")
            elif root not in MODULES:
                self.refuse(node, one, "a module that base/ may use (preflight/vocabulary.py)")
            elif not steps:
                if not imported:
                    self.refuse(node, f"{root} as a value", "a module only before a dot")
            elif not is_member(root, steps[0]):
                self.refuse(node, f"{root}.{steps[0]}", "a member that base/ may use (preflight/vocabulary.py)")
            elif f"{root}.{steps[0]}" == COMPILE:
                self.refuse(node, f"{COMPILE} as a value", "a call or a decorator")
            elif (call := f"{root}.{steps[0]}") in CALLS:
                self.refuse(node, f"{call} as a value", f"a call of it, with {CALLS[call][0]}={CALLS[call][1]}")

    def whole(self, node: ast.expr) -> tuple[str, list[str]] | None:
        """(local name, attributes) of a.b.c, where a is imported."""
        steps: list[str] = []
        while isinstance(node, ast.Attribute):
            steps.insert(0, node.attr)
            node = node.value
        return (node.id, steps) if isinstance(node, ast.Name) and node.id in self.names else None

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if is_type(node.value) and node.attr in ("__name__", "__qualname__"):
            self.visit(node.value.args[0])  # type: ignore[attr-defined]
            return
        if chain := self.whole(node):
            for step in chain[1]:
                self.attribute(node, step)
            for name in self.names[chain[0]]:
                self.dotted(node, ".".join([name, *chain[1]]))
            return
        if node.attr == "compile" and isinstance(node.ctx, ast.Load) and getattr(node.value, "attr", "") != "run":
            self.refuse(node, "compile as a value", "a call, a decorator or config.run.compile")
        self.attribute(node, node.attr)
        self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id.startswith("__") and node.id.endswith("__") and node.id not in DUNDERS:
            self.refuse(node, node.id, FRAMES)
        if not isinstance(node.ctx, ast.Load):
            return
        if node.id in BUILTINS:
            self.refuse(node, node.id, BUILTINS[node.id])
        elif node.id in BY_NAME:
            self.refuse(node, f"{node.id} as a value", LOOK_UP)
        elif node.id == "type":
            self.refuse(node, "type beyond `type(x) is` and `type(x).__name__`", CLASSES)
        for name in self.names.get(node.id, ()):
            self.dotted(node, name)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in BY_NAME:
            name = node.args[1] if len(node.args) > 1 and not isinstance(node.args[0], ast.Starred) else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                self.attribute(node, name.value)
            else:
                self.refuse(node, f"{node.func.id} of a computed name", LOOK_UP)
        elif isinstance(node.func, ast.Attribute) and node.func.attr == "compile":
            self.compiled(node.func)
        elif not self.harmless(node):
            self.visit(node.func)
        compiles = isinstance(node.func, ast.Attribute) and node.func.attr == "compile"
        for keyword in node.keywords:
            if (keyword.arg is None and compiles) or (keyword.arg in GRAPHS and not is_plain(keyword.value)):
                self.refuse(node, f"{keyword.arg or '**'}= of a call", f"plain text and numbers there; {RUN}")
        for part in (*node.args, *node.keywords):
            self.visit(part)

    def compiled(self, node: ast.Attribute) -> None:
        """x.compile where it is called or decorates: torch's, a pattern's, or an object's own."""
        chain = self.whole(node)
        if chain is None:
            self.visit(node.value)
        elif {".".join([name, *chain[1]]) for name in self.names[chain[0]]} - {COMPILE, "re.compile"}:
            self.visit_Attribute(node)

    def harmless(self, node: ast.Call) -> bool:
        """Whether a call that has a dangerous form is in the other."""
        chain = self.whole(node.func)
        names = [f"{name}.{'.'.join(chain[1])}" for name in self.names[chain[0]]] if chain and chain[1] else []
        if len(names) != 1 or names[0] not in CALLS or any(isinstance(part, ast.Starred) for part in node.args):
            return False
        argument, value, by_default = CALLS[names[0]]
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if None in given or len(node.args) > 2:
            return False
        if argument not in given:
            return by_default
        said = given[argument]
        return isinstance(said, ast.Constant) and said.value is value

    def visit_Compare(self, node: ast.Compare) -> None:
        identity = all(isinstance(operator, ast.Is | ast.IsNot) for operator in node.ops)  # == calls what it compares
        for part in (node.left, *node.comparators):
            self.visit(part.args[0] if identity and is_type(part) else part)  # type: ignore[attr-defined]

    def visit_Import(self, node: ast.Import) -> None:
        self.in_class(node)
        for alias in node.names:
            self.dotted(node, alias.name, imported=True)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.in_class(node)
        for alias in node.names:
            if alias.name == "*":
                self.refuse(node, f"from {node.module} import *", "the names that are used")
            else:
                self.attribute(node, alias.name)
                self.dotted(node, f"{node.module}.{alias.name}", imported=True)

    def in_class(self, node: ast.Import | ast.ImportFrom) -> None:
        if self.scopes and isinstance(self.scopes[-1], ast.ClassDef):
            self.refuse(node, "an import in a class", "one at the top of the file: a class would hand the module on")

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for keyword in node.keywords:
            if keyword.arg in ("metaclass", None):
                self.refuse(node, f"{keyword.arg or '**'} of class {node.name}", CLASSES)
        self.defined(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if node.returns:
            self.annotation(node.returns)
        self.defined(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def defined(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self.attribute(node, node.name)
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Attribute) and decorator.attr == "compile":
                self.compiled(decorator)
            else:
                self.visit(decorator)
        self.scopes.append(node)
        for name, value in ast.iter_fields(node):
            for part in value if isinstance(value, list) and name != "decorator_list" else [value]:
                if isinstance(part, ast.AST):
                    self.visit(part)
        self.scopes.pop()

    def visit_arg(self, node: ast.arg) -> None:
        if node.annotation:
            self.annotation(node.annotation)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.annotation(node.annotation)
        self.generic_visit(node)

    def annotation(self, node: ast.expr) -> None:
        """Text that stands for a type: torch.library, among others, evaluates it."""
        for text in ast.walk(node):
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                try:
                    inner = ast.parse(text.value.strip(), mode="eval")
                except (SyntaxError, ValueError, RecursionError, MemoryError):
                    self.refuse(text, "an annotation that is no expression", "a type")
                    continue
                for part in ast.walk(inner):
                    if hasattr(part, "lineno"):
                        part.lineno = text.lineno
                self.visit(inner.body)

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        for name in node.kwd_attrs:
            self.attribute(node, name)
        if node.patterns:
            self.refuse(node, "a class pattern by position", LOOK_UP)
        self.generic_visit(node)


def is_type(node: ast.expr) -> bool:
    """type(x), not type(name, bases, members)."""
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "type"
    return called and len(node.args) == 1 and not node.keywords and not isinstance(node.args[0], ast.Starred)  # type: ignore[attr-defined]


def is_plain(node: ast.expr) -> bool:
    """A constant, or a dict of them."""
    parts = [*node.keys, *node.values] if isinstance(node, ast.Dict) else [node]
    return all(isinstance(part, ast.Constant) for part in parts)
