"""Any program as a proposer: it reads the context as JSON, and answers on stdout or by editing a copy of base/.

It runs in a folder of its own that holds base/ without git, behind the walls of the sandbox: network allowed, all else
hidden but what `--show` and `--pass` name. If it has edited the copy, the harness itself makes the proposal from the
difference; a JSON object on stdout may then give title and hypothesis.
"""

import json
import re
import shutil
from pathlib import Path

from data.errors import NeedsPerson, ProposalError, ProposerFailed, Refused, SandboxError
from data.state import State
from experiments import budgets, key
from experiments.ledger import Row
from experiments.proposal import Proposal, as_saved, edits_between
from experiments.tiers import stated
from preflight.phases import require
from preflight.sandbox import Job, Limits, run
from preflight.text import one_line, tail
from preflight.tree import LINK, PLAIN, Source, Tree, read_folder
from proposers import Options
from proposers.context import Context
from proposers.notes import note
from proposers.reply import json_object, last_titled

LIMITS = Limits(wall_seconds=600, cpu_seconds=1800, memory_bytes=16 << 30, processes=512, threads=8192)
CONTEXT_NAME = "context.json"
LOG = "proposer.log"  # below the run: the words of the last program that failed
LAST_LINES = 3  # of a program that ended itself, in which it says why
GAVE_UP = range(1, 126)  # exit statuses of a program that ended itself, at its turn limit, say
# As Claude Code 2.1 and Codex 0.171 say it, and most programs: nothing that waiting would mend
FOR_A_PERSON = re.compile(
    r"(invalid|incorrect|missing|no|expired) .{0,20}api[ _-]?key"
    r"|api[ _-]?key.{0,30}(invalid|missing|expired|not set|required)"
    r"|unauthori[sz]ed|authentication(_error| failed| required)|/login\b|not logged in|credit balance|billing"
    r"|quota exceeded|exceeded.{0,30}quota|insufficient_quota|usage limit|command not found"
    r"|model\b.{0,80}\b(may not exist|does not exist|not_found_error|not supported)",
    re.IGNORECASE,
)  # fmt: skip
COMMAND_MISSING = re.compile(r"exit status 12[67]\b")  # of a shell: cannot be run, is not there


class Command:
    """Starts the program once for a proposal and once for each repair, which goes on with its edits."""

    def __init__(self, options: Options) -> None:
        if not options.command:
            raise NeedsPerson("command: got no program; name it with --command 'PROGRAM ARGUMENTS'")
        program = shutil.which(options.command[0])
        if program is None:
            raise NeedsPerson(f"command: expected a program, found no {options.command[0]!r}; give its path")
        for what, missing in (
            ("--show", [str(path) for path in options.show if not path.exists()]),
            ("--pass", [name for name in options.passed if not key.variable(name)]),
        ):
            if missing:
                raise NeedsPerson(f"command: got {what} {missing[0]}, which does not exist")
        self.program = (str(Path(program).absolute()), *options.command[1:])
        named = (Path(program), *(Path(part) for part in options.command[1:]))
        files = [path for path in named if path.is_file()]  # a script is shown; a folder only where --show says so
        self.show = tuple(path for file in (*files, *options.show) for path in {file.absolute(), file.resolve()})
        self.environment = {name: key.variable(name) for name in options.passed}
        self.calls = 0

    def propose(self, context: Context) -> str:
        self.context, self.tree = context, context.tree
        return self._ask("")

    def repair(self, message: str) -> str | None:
        return self._ask(message)

    def _ask(self, refused: str) -> str:
        context, self.calls = self.context, self.calls + 1
        folder = context.folder.resolve() / f"call{self.calls}"
        given = folder / CONTEXT_NAME
        job = Job(
            command=self.program,
            folder=folder / "job",
            limits=LIMITS,
            host_paths=self.show,
            environment=self.environment,
            internet=True,
            stdin=given,
            level=context.level,
        )
        export(self.tree, job.out)
        given.write_text(json.dumps(described(context, refused)), encoding="utf-8")
        try:
            outcome = run(job)
            tree = edited(job.out, self.tree)
            if not outcome.reason and outcome.status in GAVE_UP and tree != context.tree:
                note(f"the program ended with status {outcome.status} after its edits, which stand: {tail(job.log)}")
            else:
                require(job, outcome, "command")
        except (Refused, SandboxError) as error:
            ended_itself = not outcome.reason and outcome.status is not None
            raise failed(str(error), job.log, context.folder.parent / LOG, ended_itself) from error
        self.tree = tree
        return self._answer(context, job.log.read_text(encoding="utf-8", errors="replace"), tree)

    def _answer(self, context: Context, said: str, tree: Tree) -> str:
        """What it printed, or what it edited under the title that it printed."""
        if tree == context.tree:
            try:
                found, why = json_object(said), "one without edits"
            except ProposalError as error:
                found, why = {}, str(error)
            if not found.get("edits"):
                words = one_line(said.strip()[-200:], 200)
                message = f"the program changed nothing in base/ and printed no proposal ({why}); it ended: {words}"
                raise ProposalError(State.BAD_DIFF, message)
            return json.dumps({**found, "by": "command"})
        told = {**(last_titled(said) or {}), "by": "command"}
        edits = edits_between(context.tree, tree)
        files = sorted({edit["path"] for edit in edits})
        fields = {name for name in Proposal.model_fields} | {"class"}
        made = {
            "title": f"Edits of {', '.join(files)}",
            "hypothesis": one_line(said, 2000),
            "class": "architecture",
            "expected_delta_bpb": 0.0,
            **{name: value for name, value in told.items() if name in fields},
            "parent": context.parent,
            "edits": edits,
        }
        return json.dumps(made)


def edited(out: Path, before: Tree) -> Tree:
    """The Python of base/ that a program has left, as base/ keeps it; what else lies there is no part of it.

    Editors and agents leave backups, settings and modes behind, and save in the way of their own system.
    """
    left_out: list[str] = []

    def wanted(name: str) -> bool:
        if name.endswith(".py") and not any(part.startswith(".") for part in name.split("/")):
            return True
        left_out.append(name)
        return False

    tree = {}
    for path, source in read_folder(out, wanted).items():
        if source.mode == LINK:
            raise Refused(State.STATIC, f"{path}: expected a plain file, found a link")
        try:
            content = source.content if source == before.get(path) else as_saved(source.text).encode()
        except UnicodeDecodeError:
            content = source.content  # `edits_between` names it
        tree[path] = Source(PLAIN, content)
    if left_out:
        note(f"left out, as no Python of base/: {', '.join(left_out)}")
    return tree


def failed(message: str, log: Path, kept: Path, ended_itself: bool) -> ProposerFailed | NeedsPerson:
    """What to raise for a program that failed, with its last words; its log is kept where the next start leaves it.

    One that ended itself may have said that only a person can go on.
    """
    if not log.exists():  # its walls could not be put up
        return ProposerFailed(message)
    shutil.copyfile(log, kept)
    if (last := tail(log)) not in message:
        message = f"{message}; its last words: {last}"
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    asks = ended_itself and (FOR_A_PERSON.search("\n".join(lines[-LAST_LINES:])) or COMMAND_MISSING.search(message))
    return (NeedsPerson if asks else ProposerFailed)(f"{message} (all of them: {kept})")


def export(tree: Tree, folder: Path) -> None:
    """base/ as plain files."""
    for path, source in tree.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(source.content)


def described(context: Context, refused: str) -> dict[str, object]:
    """The context as a program reads it; `refused` says what was wrong with its last answer."""
    return {
        "program": context.program,
        "parent": context.parent,
        "preset": context.target.preset,
        "cap_bytes": context.target.cap_bytes,
        "budgets": stated(context.profile.tier),
        "incumbent": _row(context.incumbent) if context.incumbent else None,
        "trials": [_row(row) for row in context.rows],
        "files": {path: source.content.decode("utf-8", "replace") for path, source in context.tree.items()},
        "proposal_schema": Proposal.model_json_schema(by_alias=True),
        "refused": refused,
    }


def _row(row: Row) -> dict[str, object]:
    names = ("number", "state", "title", "kind", "hypothesis", "detail", "val_bpb", "delta_bpb", "artifact_bytes")
    return {name: getattr(row, name) for name in (*names, "steps", "step_cost")} | {"budgets": budgets.told(row)}


def command(options: Options) -> Command:
    return Command(options)
