"""Check of one file's names against the vocabulary, at every place in the syntax where a name can occur."""

import ast

from common.state import State
from common.text import one_line
from preflight.finding import Finding
from preflight.lint.bindings import ImportMap, is_member
from preflight.lint.vocabulary import (
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


def check_names(path: str, module: ast.Module, imports: ImportMap) -> list[Finding]:
    """Return a finding for every name that the file may not use; raises RecursionError if it is nested too deep."""
    visitor = NameVisitor(path, imports)
    visitor.visit(module)
    return visitor.findings


class NameVisitor(ast.NodeVisitor):
    """A walk over one file that collects `findings`."""

    def __init__(self, path: str, imports: ImportMap) -> None:
        self.path, self.imports, self.bindings = path, imports, imports.bindings(path)
        self.findings: list[Finding] = []
        self.scopes: list[ast.AST] = []  # functions and classes around the current node

    def refuse(self, node: ast.AST, got: str, expected: str) -> None:
        self.findings.append(Finding(State.STATIC, self.path, one_line(got, 120), expected, getattr(node, "lineno", 0)))

    def check_attribute(self, node: ast.AST, name: str) -> None:
        """Check a name after a dot, or one that has the same effect."""
        dunder = name.startswith("__") and name.endswith("__") and name not in DUNDERS
        if name == "compile" and isinstance(node, ast.Call | ast.ImportFrom):
            self.refuse(node, f"{name} by its name", "a call or a decorator after a dot")
        if name in REFUSED or dunder:
            self.refuse(node, name, REFUSED.get(name, FRAMES))

    def check_dotted(self, node: ast.AST, name: str, imported: bool = False) -> None:
        """Check a name that starts with a module: its parts must be listed modules, then an allowed member."""
        for resolved in sorted(self.imports.resolve(name)):
            root, *steps = resolved.split(".")
            while steps and (f"{root}.{steps[0]}" in MODULES or f"{root}.{steps[0]}" in self.imports.paths):
                root += "." + steps.pop(0)
            if root.partition(".")[0] == "base":
                if root in self.imports.paths and not steps and not imported:
                    self.refuse(node, f"{root} as a value", "a module only before a dot")
            elif root not in MODULES:
                self.refuse(node, resolved, "a module that base/ may use (preflight/lint/vocabulary.py)")
            elif not steps:
                if not imported:
                    self.refuse(node, f"{root} as a value", "a module only before a dot")
            elif not is_member(root, steps[0]):
                self.refuse(node, f"{root}.{steps[0]}", "a member that base/ may use (preflight/lint/vocabulary.py)")
            elif f"{root}.{steps[0]}" == COMPILE:
                self.refuse(node, f"{COMPILE} as a value", "a call or a decorator")
            elif (call := f"{root}.{steps[0]}") in CALLS:
                self.refuse(node, f"{call} as a value", f"a call of it, with {CALLS[call][0]}={CALLS[call][1]}")

    def imported_chain(self, node: ast.expr) -> tuple[str, list[str]] | None:
        """Return (local name, attributes) of a.b.c if a is imported."""
        steps: list[str] = []
        while isinstance(node, ast.Attribute):
            steps.insert(0, node.attr)
            node = node.value
        return (node.id, steps) if isinstance(node, ast.Name) and node.id in self.bindings else None

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if is_type(node.value) and node.attr in ("__name__", "__qualname__"):
            self.visit(node.value.args[0])  # type: ignore[attr-defined]
            return
        if chain := self.imported_chain(node):
            for step in chain[1]:
                self.check_attribute(node, step)
            for name in self.bindings[chain[0]]:
                self.check_dotted(node, ".".join([name, *chain[1]]))
            return
        if node.attr == "compile" and isinstance(node.ctx, ast.Load) and getattr(node.value, "attr", "") != "run":
            self.refuse(node, "compile as a value", "a call, a decorator or config.run.compile")
        self.check_attribute(node, node.attr)
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
        for name in self.bindings.get(node.id, ()):
            self.check_dotted(node, name)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in BY_NAME:
            name = node.args[1] if len(node.args) > 1 and not isinstance(node.args[0], ast.Starred) else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                self.check_attribute(node, name.value)
            else:
                self.refuse(node, f"{node.func.id} of a computed name", LOOK_UP)
        elif isinstance(node.func, ast.Attribute) and node.func.attr == "compile":
            self.check_compile(node.func)
        elif not self.is_harmless(node):
            self.visit(node.func)
        compiles = isinstance(node.func, ast.Attribute) and node.func.attr == "compile"
        for keyword in node.keywords:
            if (keyword.arg is None and compiles) or (keyword.arg in GRAPHS and not is_plain(keyword.value)):
                self.refuse(node, f"{keyword.arg or '**'}= of a call", f"only literal text and numbers; {RUN}")
        for part in (*node.args, *node.keywords):
            self.visit(part)

    def check_compile(self, node: ast.Attribute) -> None:
        """Check x.compile as a call or a decorator: torch's, a pattern's, or an object's own."""
        chain = self.imported_chain(node)
        if chain is None:
            self.visit(node.value)
        elif {".".join([name, *chain[1]]) for name in self.bindings[chain[0]]} - {COMPILE, "re.compile"}:
            self.visit_Attribute(node)

    def is_harmless(self, node: ast.Call) -> bool:
        """Return True if a call that also has a dangerous form is in its harmless one."""
        chain = self.imported_chain(node.func)
        names = [f"{name}.{'.'.join(chain[1])}" for name in self.bindings[chain[0]]] if chain and chain[1] else []
        if len(names) != 1 or names[0] not in CALLS or any(isinstance(part, ast.Starred) for part in node.args):
            return False
        argument, value, by_default = CALLS[names[0]]
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if None in keywords or len(node.args) > 2:
            return False
        if argument not in keywords:
            return by_default
        passed = keywords[argument]
        return isinstance(passed, ast.Constant) and passed.value is value

    def visit_Compare(self, node: ast.Compare) -> None:
        identity = all(isinstance(operator, ast.Is | ast.IsNot) for operator in node.ops)  # == may call a method
        for part in (node.left, *node.comparators):
            self.visit(part.args[0] if identity and is_type(part) else part)  # type: ignore[attr-defined]

    def visit_Import(self, node: ast.Import) -> None:
        self.check_import_scope(node)
        for alias in node.names:
            self.check_dotted(node, alias.name, imported=True)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.check_import_scope(node)
        for alias in node.names:
            if alias.name == "*":
                self.refuse(node, f"from {node.module} import *", "the names that are used")
            else:
                self.check_attribute(node, alias.name)
                self.check_dotted(node, f"{node.module}.{alias.name}", imported=True)

    def check_import_scope(self, node: ast.Import | ast.ImportFrom) -> None:
        if self.scopes and isinstance(self.scopes[-1], ast.ClassDef):
            self.refuse(node, "an import in a class", "one at the top of the file: a class would pass the module on")

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for keyword in node.keywords:
            if keyword.arg in ("metaclass", None):
                self.refuse(node, f"{keyword.arg or '**'} of class {node.name}", CLASSES)
        self.check_definition(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if node.returns:
            self.check_annotation(node.returns)
        self.check_definition(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def check_definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        """Check the name, the decorators and the body of a function or a class."""
        self.check_attribute(node, node.name)
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Attribute) and decorator.attr == "compile":
                self.check_compile(decorator)
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
            self.check_annotation(node.annotation)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.check_annotation(node.annotation)
        self.generic_visit(node)

    def check_annotation(self, node: ast.expr) -> None:
        """Check a string annotation: torch.library, among others, evaluates it."""
        for text in ast.walk(node):
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                try:
                    inner = ast.parse(text.value.strip(), mode="eval")
                except (SyntaxError, ValueError, RecursionError, MemoryError):
                    self.refuse(text, "an annotation that is not an expression", "a type")
                    continue
                for part in ast.walk(inner):
                    if hasattr(part, "lineno"):
                        part.lineno = text.lineno
                self.visit(inner.body)

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        for name in node.kwd_attrs:
            self.check_attribute(node, name)
        if node.patterns:
            self.refuse(node, "a class pattern by position", LOOK_UP)
        self.generic_visit(node)


def is_type(node: ast.expr) -> bool:
    """Return True for type(x), False for type(name, bases, members)."""
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "type"
    return called and len(node.args) == 1 and not node.keywords and not isinstance(node.args[0], ast.Starred)  # type: ignore[attr-defined]


def is_plain(node: ast.expr) -> bool:
    """Return True for a constant or a dict of constants."""
    parts = [*node.keys, *node.values] if isinstance(node, ast.Dict) else [node]
    return all(isinstance(part, ast.Constant) for part in parts)
