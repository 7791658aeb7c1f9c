"""From a run's branch to the person's own: one clean commit per kept change, or the winning tree in base/."""

from pathlib import Path

from data.errors import CaddieError, Refused, WorkspaceError
from data.state import State
from experiments.checkout import Checkout
from experiments.golden import FOLDER as GOLDEN
from experiments.golden import prepared, text
from experiments.ledger import Ledger, Row
from experiments.promote import lineage
from experiments.runs import profile_of
from preflight.sandbox.isolation import available_levels
from preflight.text import one_line, quoted
from preflight.tree import Tree

NO_SANDBOX = "no sandbox works here: golden losses stay as they were; read the change, then `make golden-write`"


def finalize(workspace: Checkout, ledger: Ledger, onto: str, branch: str) -> list[Row]:
    """A new branch of `onto` and one commit for each kept change that is not there yet; returns their rows."""
    best = ledger.incumbent()
    if best is None or best.state is not State.KEPT:
        raise CaddieError(f"run {workspace.run} has kept nothing: there is no change to put on a branch")
    commit, made = workspace.commit_of(onto), []
    for row in lineage(ledger, best)[1:]:
        try:
            after = workspace.replay(commit, row.parent, str(row.commit_id), message(row))
        except WorkspaceError as error:
            raise CaddieError(
                f"trial {row.number:04d}, {one_line(row.title, 60)}, does not apply to {onto}: "
                f"{one_line(str(error), 200)}; --onto another commit, such as the one the run began from"
            ) from error
        made += [row] if after != commit else []
        commit = after
    if not made:
        raise CaddieError(f"all that run {workspace.run} kept is in {onto} already")
    workspace.branch(branch, commit)
    return made


def message(row: Row) -> str:
    """A commit for readers who do not know the run."""
    numbers = f"{row.val_bpb:.4f} bpb, {row.delta_bpb or 0.0:+.4f} against the one before, on fresh seeds and paired"
    lines = f"+{row.lines_added or 0} -{row.lines_removed or 0} lines"
    paragraphs = [one_line(row.title, 72), quoted(row.hypothesis), f"{numbers}; {lines}."]
    trailers = {"Trial": f"{row.number:04d}", "Class": one_line(row.kind, 40), "Source-Commit": str(row.commit_id)}
    return "\n\n".join([*paragraphs, "\n".join(f"{name}: {value}" for name, value in trailers.items())]) + "\n"


def adopt(workspace: Checkout, ledger: Ledger, number: int) -> tuple[str, str]:
    """Bring a trial's base/ into the checkout's, renew the golden losses, commit both; returns the commit and a note.

    What the person changed in base/ since the run began stays, or the change does not apply and nothing is touched.
    """
    root, row = workspace.root, ledger.row(number)
    if row.state is not State.KEPT:
        raise CaddieError(f"trial {number} is {row.state}, expected a kept one; `log --kept` lists them")
    for place in ("base", GOLDEN):
        if not workspace.is_clean(place):
            raise CaddieError(f"{place} has changes that are not committed; commit or stash them first")
    start = lineage(ledger, row)[0]
    subject = f"Adopt trial {number:04d} of run {workspace.run}: {one_line(row.title, 72)}"
    made = workspace.replay("HEAD", str(start.commit_id), str(row.commit_id), subject)
    if made == workspace.head():
        raise CaddieError(f"base/ is that of trial {number} already")
    before, after = workspace.read("HEAD"), workspace.read(made)
    paths = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    try:
        _put(root, after, before)
        renewed: list[str] = []
        note = ""
        if (root / GOLDEN).exists():
            renewed, note = _renew_golden(root, after, profile_of(ledger).tier.target.preset)
        said = f"{subject}\n\n{row.val_bpb:.4f} bpb; from {row.commit_id}\n"
        return workspace.commit_paths([*paths, *renewed], said), note
    except BaseException:
        _put(root, before, after)
        if (root / GOLDEN).exists():
            workspace.restore_from_head(GOLDEN)
        raise


def _put(root: Path, tree: Tree, before: Tree) -> None:
    for path in before.keys() - tree.keys():
        (root / path).unlink(missing_ok=True)
    for path, source in tree.items():
        if before.get(path) != source:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(source.content)


def _renew_golden(root: Path, tree: Tree, preset: str) -> tuple[list[str], str]:
    """Golden losses of the adopted tree, taken inside the walls; the files that changed, or why none did."""
    level = available_levels()[0]
    if level == "none":
        return [], NO_SANDBOX
    paths = []
    try:
        with prepared(tree, level) as golden:
            for name in golden.presets(preset, known=[path.stem for path in (root / GOLDEN).glob("*.txt")]):
                (root / GOLDEN / f"{name}.txt").write_text(text(golden.losses(name)), encoding="utf-8")
                paths.append(f"{GOLDEN}/{name}.txt")
    except Refused as refusal:
        raise CaddieError(f"the golden losses could not be renewed: {one_line(str(refusal), 300)}") from refusal
    return paths, ""
