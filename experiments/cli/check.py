"""The command `check`: the loop's verdict on a proposal before any compute is spent on it."""

import json
from pathlib import Path

from rich.text import Text

from common.errors import CaddieError
from common.text import one_line
from experiments.cli.console import screen
from experiments.cli.options import Name, Root
from experiments.ledger.store import Ledger, contains_run
from experiments.run.layout import ledger_path


def check(proposal: Path, name: Name = "demo", root: Root = Path()) -> None:
    """Check a proposal at every gate that needs no compute. Example: python -m experiments check proposal.json

    Compares it with the run's incumbent and its trials, or with HEAD if there is no such run; `parent` may be left
    out. docs/proposals.md describes the format. Exit 0: the loop would try it; 2: it would not, and the message says
    why.
    """
    from experiments.proposal.gate import Change, gates
    from experiments.proposal.schema import Proposal
    from experiments.repo.workspace import Workspace

    console, workspace, path = screen(), Workspace(root.resolve(), name), ledger_path(root, name)
    try:
        fields = json.loads(proposal.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise CaddieError(f"{proposal}: expected UTF-8, found byte {error.object[error.start]:#04x}") from error
    except (ValueError, RecursionError) as error:
        raise CaddieError(f"{proposal}: expected one JSON object, found {one_line(str(error))}") from error
    if not isinstance(fields, dict):
        raise CaddieError(f"{proposal}: expected one JSON object, found {type(fields).__name__}")
    rows, target, parent = [], "HEAD", workspace.head()
    if contains_run(path):
        ledger = Ledger(path)
        rows = ledger.rows()
        target, parent = f"the incumbent of run {name}", workspace.best()
        ledger.close()

    def passed(gate: str, result: str) -> None:
        console.print(Text.assemble(("ok  ", "green"), f"  {gate:<8} {result}"))

    parsed = Proposal.parse(json.dumps({"parent": parent, **fields}))
    if parsed.parent != parent:
        written = f"written against {parsed.parent[:10]}"
        raise CaddieError(f"{written}, expected {target}, {parent[:10]}; or leave parent out")
    passed("form", f"{one_line(parsed.title, 80)} ({parsed.kind}), against {target}, {parent[:10]}")
    change = Change.make(parsed, workspace.read(parent), lambda line: passed("note", line))
    for gate, result in gates(change, rows):
        passed(gate, result)
