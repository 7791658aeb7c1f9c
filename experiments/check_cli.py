"""`check`: what the loop would say to a proposal before it spends anything on it."""

import json
from pathlib import Path

from rich.text import Text

from data.errors import CaddieError
from experiments import view
from experiments.gate import gates
from experiments.ledger import Ledger
from experiments.proposal import Proposal
from experiments.runs import Name, Root, ledger_path
from experiments.standing import is_begun
from experiments.workspace import Workspace
from preflight.text import one_line


def command(proposal: Path, name: Name = "demo", root: Root = Path()) -> None:
    """Every gate that costs nothing, on one proposal. Example: python -m experiments check proposal.json

    Held against the run's incumbent and its trials, or against HEAD where there is no such run; `parent` may be left
    out. docs/proposals.md describes the format. Exit 0: the loop would try it; 2: it would not, and says why.
    """
    console, workspace, path = view.screen(), Workspace(root.resolve(), name), ledger_path(root, name)
    try:
        found = json.loads(proposal.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise CaddieError(f"{proposal}: expected UTF-8, found byte {error.object[error.start]:#04x}") from error
    except (ValueError, RecursionError) as error:
        raise CaddieError(f"{proposal}: expected one JSON object, found {one_line(str(error))}") from error
    if not isinstance(found, dict):
        raise CaddieError(f"{proposal}: expected one JSON object, found {type(found).__name__}")
    rows, incumbent, against, parent = [], None, "HEAD", workspace.head()
    if is_begun(path):
        ledger = Ledger(path)
        rows, incumbent = ledger.rows(), ledger.incumbent()
        against, parent = f"the incumbent of run {name}", workspace.best()
        ledger.close()

    def passed(what: str, told: str) -> None:
        console.print(Text.assemble(("ok  ", "green"), f"  {what:<8} {told}"))

    made = Proposal.parse(json.dumps({"parent": parent, **found}))
    if made.parent != parent:
        raise CaddieError(f"written against {made.parent[:10]}, expected {against}, {parent[:10]}; or leave parent out")
    passed("form", f"{one_line(made.title, 80)} ({made.kind}), against {against}, {parent[:10]}")
    for what, told in gates(made, workspace.read(parent), incumbent, rows, lambda line: passed("note", line)):
        passed(what, told)
