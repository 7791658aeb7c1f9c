"""Any program as a proposer: it reads the context as JSON, and answers on stdout or by editing a copy of base/.

It runs in a folder of its own that holds base/ without git, behind the walls of the sandbox: network allowed, all else
hidden but what `--show` and `--pass` name. If it has edited the copy, the harness itself makes the proposal from the
difference; a JSON object on stdout may then give title and hypothesis.
"""

import json
import shutil
from pathlib import Path

from data.errors import NoProposal, ProposerFailed, Refused, SandboxError
from experiments import budgets, key
from experiments.ledger import Row
from experiments.proposal import Proposal, edits_between
from experiments.tiers import stated
from preflight.phases import require
from preflight.sandbox import Job, Limits, run
from preflight.text import one_line
from preflight.tree import Tree, read_folder
from proposers import Options
from proposers.context import Context
from proposers.reply import last_titled

LIMITS = Limits(wall_seconds=600, cpu_seconds=1800, memory_bytes=16 << 30, processes=512, threads=8192)
CONTEXT_NAME = "context.json"


class Command:
    """Starts the program once for a proposal and once for each repair, which goes on with its edits."""

    def __init__(self, options: Options) -> None:
        if not options.command:
            raise NoProposal("command: got no program; name it with --command 'PROGRAM ARGUMENTS'")
        program = shutil.which(options.command[0])
        if program is None:
            raise NoProposal(f"command: expected a program, found no {options.command[0]!r}; give its path")
        for what, missing in (
            ("--show", [str(path) for path in options.show if not path.exists()]),
            ("--pass", [name for name in options.passed if not key.variable(name)]),
        ):
            if missing:
                raise NoProposal(f"command: got {what} {missing[0]}, which does not exist")
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
        given.write_text(json.dumps(described(context, refused)))
        try:
            require(job, run(job), "command")
            said = job.log.read_text(encoding="utf-8", errors="replace")
            tree = read_folder(job.out)
        except (Refused, SandboxError) as error:
            raise ProposerFailed(f"{error} (its words: {job.log})") from error
        answer = self._answer(context, said, tree)
        self.tree = tree
        return answer

    def _answer(self, context: Context, said: str, tree: Tree) -> str:
        """What it printed, or what it edited under the title that it printed."""
        found = last_titled(said)
        if tree == context.tree:
            return said if found is None else json.dumps({**found, "by": "command"})
        told = {**(found or {}), "by": "command"}
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
