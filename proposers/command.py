"""The command proposer: any program that reads the context as JSON and answers on stdout or by editing a copy of base/.

The program runs in the sandbox, in a folder of its own with a copy of base/ but no git repository. It has network
access; of the file system it sees only what `--show` names, of the environment only what `--pass` names. If it edits
the copy, the proposal is made from the difference, and a JSON object on stdout may supply its title and hypothesis.
"""

import json
import re
import shutil
from pathlib import Path

from common.errors import NeedsPerson, ProposalError, ProposerFailed, Refused, SandboxError
from common.state import State
from common.text import one_line, tail
from experiments import credentials
from experiments.ledger import usage
from experiments.ledger.rows import Row
from experiments.proposal.options import ProposerOptions
from experiments.proposal.patch import edits_between, normalize_file
from experiments.proposal.schema import Proposal
from experiments.tiers import budget_lines
from preflight.candidate.candidate import raise_for_outcome
from preflight.sandbox.job import Job, Limits
from preflight.sandbox.start import run
from preflight.source.tree import LINK, PLAIN, Source, Tree, read_folder
from proposers import Proposer
from proposers.context import Context
from proposers.notes import note
from proposers.reply import json_object, last_titled

LIMITS = Limits(wall_seconds=600, cpu_seconds=1800, memory_bytes=16 << 30, processes=512, threads=8192)
CONTEXT_NAME = "context.json"
LOG = "proposer.log"  # in the run's folder: the output of the last program that failed
LAST_LINES = 3  # of the output of a program that exited, where it says why
EXITED_WITH_ERROR = range(1, 126)  # exit statuses of a program that gave up, for example at its turn limit
# Errors that waiting does not fix, as Claude Code 2.1, Codex 0.171 and most programs phrase them.
NEEDS_PERSON = re.compile(
    r"(invalid|incorrect|missing|no|expired) .{0,20}api[ _-]?key"
    r"|api[ _-]?key.{0,30}(invalid|missing|expired|not set|required)"
    r"|unauthori[sz]ed|authentication(_error| failed| required)|/login\b|not logged in|credit balance|billing"
    r"|quota exceeded|exceeded.{0,30}quota|insufficient_quota|usage limit|command not found"
    r"|model\b.{0,80}\b(may not exist|does not exist|not_found_error|not supported)",
    re.IGNORECASE,
)  # fmt: skip
COMMAND_MISSING = re.compile(r"exit status 12[67]\b")  # of a shell: the command is not executable, or not found


class Command(Proposer):
    """Start the program once for a proposal and once for each repair, which continues with its earlier edits."""

    def __init__(self, options: ProposerOptions) -> None:
        program = options.program
        if not program:
            raise NeedsPerson("command: got no program; name it with --command 'PROGRAM ARGUMENTS'")
        path = shutil.which(program[0])
        if path is None:
            raise NeedsPerson(f"command: got {program[0]!r}, expected a program on PATH; give its full path")
        for option, missing in (
            ("--show", [str(path) for path in options.show if not path.exists()]),
            ("--pass", [name for name in options.passed if not credentials.variable(name)]),
        ):
            if missing:
                raise NeedsPerson(f"command: got {option} {missing[0]}, which does not exist")
        self.program = (str(Path(path).absolute()), *program[1:])
        arguments = (Path(path), *(Path(part) for part in program[1:]))
        files = [file for file in arguments if file.is_file()]  # scripts are visible, folders only with --show
        self.show = tuple(path for file in (*files, *options.show) for path in {file.absolute(), file.resolve()})
        self.environment = {name: credentials.variable(name) for name in options.passed}
        self.calls = 0

    def propose(self, context: Context) -> str:
        self.context, self.tree = context, context.tree
        return self._run("")

    def repair(self, message: str) -> str | None:
        return self._run(message)

    def _run(self, refused: str) -> str:
        context, self.calls = self.context, self.calls + 1
        folder = context.folder.resolve() / f"call{self.calls}"
        stdin = folder / CONTEXT_NAME
        job = Job(
            command=self.program,
            folder=folder / "job",
            limits=LIMITS,
            host_paths=self.show,
            environment=self.environment,
            internet=True,
            stdin=stdin,
            level=context.level,
        )
        write_files(self.tree, job.out)
        stdin.write_text(json.dumps(context_as_json(context, refused)), encoding="utf-8")
        try:
            outcome = run(job)
            tree = read_edited(job.out, self.tree)
            if not outcome.reason and outcome.status in EXITED_WITH_ERROR and tree != context.tree:
                note(f"the program exited with status {outcome.status}; its edits are used anyway: {tail(job.log)}")
            else:
                raise_for_outcome(job, outcome, "command")
        except (Refused, SandboxError) as error:
            exited = not outcome.reason and outcome.status is not None
            raise failure(str(error), job.log, context.folder.parent / LOG, exited) from error
        self.tree = tree
        return self._proposal(context, job.log.read_text(encoding="utf-8", errors="replace"), tree)

    def _proposal(self, context: Context, output: str, tree: Tree) -> str:
        """Return what the program printed, or its edits under the title that it printed."""
        if tree == context.tree:
            try:
                reply, reason = json_object(output), "got a JSON object without edits"
            except ProposalError as error:
                reply, reason = {}, str(error)
            if not reply.get("edits"):
                end = one_line(output.strip()[-200:], 200)
                message = f"the program changed nothing in base/ and printed no proposal ({reason}); output ends: {end}"
                raise ProposalError(State.BAD_DIFF, message)
            return json.dumps({**reply, "by": "command"})
        reply = {**(last_titled(output) or {}), "by": "command"}
        edits = edits_between(context.tree, tree)
        files = sorted({edit["path"] for edit in edits})
        fields = {name for name in Proposal.model_fields} | {"class"}
        proposal = {
            "title": f"Edits of {', '.join(files)}",
            "hypothesis": one_line(output, 2000),
            "class": "architecture",
            "expected_delta_bpb": 0.0,
            **{name: value for name, value in reply.items() if name in fields},
            "parent": context.parent,
            "edits": edits,
        }
        return json.dumps(proposal)


def read_edited(out: Path, before: Tree) -> Tree:
    """Return the Python files that a program has left in its copy of base/, in the form in which base/ keeps them.

    Everything else is ignored: editors and agents leave backups, settings and file modes behind, and save with the
    line ends and encoding marks of their own system.
    """
    ignored: list[str] = []

    def is_source(name: str) -> bool:
        if name.endswith(".py") and not any(part.startswith(".") for part in name.split("/")):
            return True
        ignored.append(name)
        return False

    tree = {}
    for path, source in read_folder(out, is_source).items():
        if source.mode == LINK:
            raise Refused(State.STATIC, f"{path}: expected a plain file, got a link")
        try:
            content = source.content if source == before.get(path) else normalize_file(source.text).encode()
        except UnicodeDecodeError:
            content = source.content  # `edits_between` raises an error that names the file
        tree[path] = Source(PLAIN, content)
    if ignored:
        note(f"ignored, not Python files of base/: {', '.join(ignored)}")
    return tree


def failure(message: str, log: Path, kept: Path, exited: bool) -> ProposerFailed | NeedsPerson:
    """Return the error to raise for a program that failed, and keep its log where the next start does not delete it.

    Args:
        message: How the program ended.
        log: The output of the program; missing if the sandbox could not be set up.
        kept: The path to which the log is copied.
        exited: The program exited, rather than being killed, so its last lines may name a problem for its user.
    """
    if not log.exists():
        return ProposerFailed(message)
    shutil.copyfile(log, kept)
    if (last := tail(log)) not in message:
        message = f"{message}; last output: {last}"
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    needs_person = exited and (NEEDS_PERSON.search("\n".join(lines[-LAST_LINES:])) or COMMAND_MISSING.search(message))
    return (NeedsPerson if needs_person else ProposerFailed)(f"{message} (full log: {kept})")


def write_files(tree: Tree, folder: Path) -> None:
    """Write a tree as plain files."""
    for path, source in tree.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(source.content)


def context_as_json(context: Context, refused: str) -> dict[str, object]:
    """Return the context as a program reads it; `refused` says what was wrong with its last answer."""
    return {
        "program": context.program,
        "parent": context.parent,
        "preset": context.target.preset,
        "cap_bytes": context.target.cap_bytes,
        "budgets": budget_lines(context.profile.tier),
        "incumbent": _row(context.incumbent) if context.incumbent else None,
        "trials": [_row(row) for row in context.rows],
        "files": {path: source.content.decode("utf-8", "replace") for path, source in context.tree.items()},
        "proposal_schema": Proposal.model_json_schema(by_alias=True),
        "refused": refused,
    }


def _row(row: Row) -> dict[str, object]:
    names = ("number", "state", "title", "kind", "hypothesis", "detail", "val_bpb", "delta_bpb", "artifact_bytes")
    return {name: getattr(row, name) for name in (*names, "steps", "step_cost")} | {"budgets": usage.describe(row)}
