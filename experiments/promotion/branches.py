"""Brings a run's results into your own branches: a clean commit per kept change, or a kept tree in base/."""

from pathlib import Path

from common.errors import CaddieError, Refused, WorkspaceError
from common.state import State
from common.text import one_line, quoted
from experiments.ledger.rows import Row
from experiments.ledger.store import Ledger
from experiments.promotion.golden import FOLDER as GOLDEN
from experiments.promotion.golden import bundled, format_losses, moved, parse_losses
from experiments.promotion.promotion import lineage
from experiments.repo.checkout import Checkout
from experiments.run.machine import profile_of
from preflight.sandbox.isolation.levels import available_levels
from preflight.source.tree import Tree

NO_SANDBOX = "no sandbox works here, so the golden losses are unchanged; read the change, then run `make golden-write`"


def finalize(workspace: Checkout, ledger: Ledger, onto: str, branch: str) -> list[Row]:
    """Make a branch from `onto` with one commit per kept change that it lacks.

    Args:
        workspace: Your checkout.
        ledger: The run's ledger.
        onto: The commit that the branch starts from.
        branch: Name of the new branch.

    Returns:
        The rows of the trials that were committed.

    Raises:
        CaddieError: The run kept nothing, a change does not apply, or `onto` has them all.
    """
    best = ledger.incumbent()
    if best is None or best.state is State.BASELINE:
        raise CaddieError(f"run {workspace.run} has kept nothing: there is no change to put on a branch")
    commit, committed = workspace.commit_of(onto), []
    for row in lineage(ledger, best)[1:]:
        try:
            after = workspace.replay(commit, row.parent, str(row.commit_id), message(row))
        except WorkspaceError as error:
            raise CaddieError(
                f"trial {row.number:04d}, {one_line(row.title, 60)}, does not apply to {onto}: "
                f"{one_line(str(error), 200)}; use --onto with another commit, such as the one the run started from"
            ) from error
        committed += [row] if after != commit else []
        commit = after
    if not committed:
        raise CaddieError(f"everything that run {workspace.run} kept is in {onto} already")
    workspace.create_branch(branch, commit)
    return committed


def message(row: Row) -> str:
    """Return a commit message for readers who do not know the run."""
    numbers = f"{row.val_bpb:.4f} bpb, {row.delta_bpb or 0.0:+.4f} against the change before it, paired on fresh seeds"
    lines = f"+{row.lines_added or 0} -{row.lines_removed or 0} lines"
    paragraphs = [one_line(row.title, 72), quoted(row.hypothesis), f"{numbers}; {lines}."]
    trailers = {"Trial": f"{row.number:04d}", "Class": one_line(row.kind, 40), "Source-Commit": str(row.commit_id)}
    return "\n\n".join([*paragraphs, "\n".join(f"{name}: {value}" for name, value in trailers.items())]) + "\n"


def adopt(workspace: Checkout, ledger: Ledger, number: int) -> tuple[str, str]:
    """Bring a kept trial's base/ into the checkout, update the golden losses and commit both.

    Your own changes to base/ since the run began are kept; if the trial's change does not apply, nothing is touched.

    Returns:
        The commit, and a note for the user, which may be empty.

    Raises:
        CaddieError: The trial was not kept, or the checkout has uncommitted changes.
        WorkspaceError: The change does not apply.
    """
    root, row = workspace.root, ledger.row(number)
    if not row.state.is_kept or row.state is State.BASELINE:
        raise CaddieError(f"trial {number} is {row.state}, expected a kept one; `log --kept` lists them")
    for folder in ("base", GOLDEN):
        if not workspace.is_clean(folder):
            raise CaddieError(f"{folder} has uncommitted changes; commit or stash them first")
    start = lineage(ledger, row)[0]
    subject = f"Adopt trial {number:04d} of run {workspace.run}: {one_line(row.title, 72)}"
    adopted = workspace.replay("HEAD", str(start.commit_id), str(row.commit_id), subject)
    if adopted == workspace.head():
        raise CaddieError(f"base/ has the changes of trial {number} already")
    before, after = workspace.read("HEAD"), workspace.read(adopted)
    paths = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    try:
        _write_tree(root, after, before)
        updated: list[str] = []
        note = ""
        if (root / GOLDEN).exists():
            updated, note = _update_golden(root, after, profile_of(ledger).tier.target.preset)
        text = f"{subject}\n\n{row.val_bpb:.4f} bpb; from {row.commit_id}\n"
        return workspace.commit_paths([*paths, *updated], text), note
    except BaseException:
        _write_tree(root, before, after)
        if (root / GOLDEN).exists():
            workspace.restore_from_head(GOLDEN)
        raise


def _write_tree(root: Path, tree: Tree, before: Tree) -> None:
    for path in before.keys() - tree.keys():
        (root / path).unlink(missing_ok=True)
    for path, source in tree.items():
        if before.get(path) != source:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(source.content)


def _update_golden(root: Path, tree: Tree, preset: str) -> tuple[list[str], str]:
    """Measure the adopted tree's golden losses in the sandbox; return the files that changed, or why none did."""
    level = available_levels()[0]
    if level == "none":
        return [], NO_SANDBOX
    paths = []
    try:
        with bundled(tree, level) as golden:
            for name in golden.presets(preset, names=[path.stem for path in (root / GOLDEN).glob("*.txt")]):
                file, losses = root / GOLDEN / f"{name}.txt", golden.losses(name)
                if not file.exists() or moved(parse_losses(file.read_text(encoding="utf-8")), losses):
                    file.write_text(format_losses(losses), encoding="utf-8")
                    paths.append(f"{GOLDEN}/{name}.txt")
    except Refused as refusal:
        raise CaddieError(f"the golden losses could not be updated: {one_line(str(refusal), 300)}") from refusal
    return paths, ""
