"""Writes a promotion as a record folder in the challenge's format: script, logs, numbers and README.

Every number was measured by the harness; the program's own output is in the logs, marked as such.
"""

import json
import platform
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from statistics import stdev

from jinja2 import Environment, StrictUndefined

from common.errors import CaddieError
from common.text import one_line
from data.corpus import Corpus
from experiments.ledger.rows import Row
from experiments.ledger.store import Ledger
from experiments.promotion.promotion import Promotion
from experiments.promotion.seed_log import seed_log
from experiments.proposal.parts import by_of
from experiments.repo.checkout import Checkout
from experiments.run.run import Run
from preflight.candidate import probe
from preflight.candidate.candidate import interpreter
from preflight.records import check, script
from preflight.source import bundle, release

HUMAN = "train_gpt_human.py"
START_DIFF = "from_start.diff"
MARKDOWN = re.compile(  # what GitHub would render, where it would: a_b stays a_b, and http:// is no link
    r"([\\`*\[\]<|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|&(?=#?\w+;)|@(?=\w)|#(?=\d)|(?<=:)/(?=/)|(?<=www)\.|^[-+>#=])"
)


@dataclass(frozen=True)
class Author:
    """The submitter of a record."""

    name: str
    github_id: str


def write(run: Run, promotion: Promotion, author: Author, today: date) -> str:
    """Write, check and commit the record's folder; return its path in the repository; raises CaddieError."""
    root, name = run.workspace.root, promotion.folder
    folder = root / name
    files_of_record = contents(run, promotion, author, today)
    folder.mkdir(parents=True)
    try:
        for path, content in files_of_record.items():
            (folder / path).write_bytes(content)
        if faults := check.check(folder).findings:
            raise CaddieError(f"{name}: the record check fails, nothing is committed: {faults[0]}")
        kind = "Packed" if promotion.reasons else "Record"
        result = f"{promotion.val_bpb:.5f} bpb on {len(promotion.measured)} seeds"
        message = f"{kind}: {result}, {one_line(promotion.row.title, 60)}"
        commit = Checkout(root, run.name).commit_paths([f"{name}/{path}" for path in files_of_record], message)
    except BaseException:
        shutil.rmtree(folder)
        raise
    run.ledger.add_promotion(promotion.row.number, name, commit)
    run.workspace.add_note(str(promotion.row.commit_id), f"promoted: {name}, {promotion.val_bpb:.6f} bpb")
    return name


def contents(run: Run, promotion: Promotion, author: Author, today: date) -> dict[str, bytes]:
    """Return every file of the folder by its name."""
    program = promotion.program.read_bytes()
    modules = imported(program.decode("ascii"))
    versions = {"python": platform.python_version(), **probe.versions(modules)}
    seed_logs = {
        f"train_seed{measurement.seed}.log": seed_log(run, promotion, measurement, program, versions).encode("utf-8")
        for measurement in promotion.measured
    }
    claim = submission(run.corpus, promotion, author, today, versions)
    human = release.readable(promotion.tree, one_line(promotion.title, 80))
    # A package index has no local versions such as 2.9.1+cu128.
    public = {name: version.partition("+")[0] for name, version in versions.items()}
    requirements = "".join(f"{name}=={version}\n" for name, version in public.items() if name != "python")
    compile(human, HUMAN, "exec", dont_inherit=True)
    return {
        "README.md": readme(run, promotion, claim, versions).encode("utf-8"),
        "submission.json": (json.dumps(claim, indent=2, ensure_ascii=False) + "\n").encode("utf-8"),
        bundle.NAME: program,
        HUMAN: human.encode("utf-8"),
        START_DIFF: start_diff(run, promotion).encode("utf-8"),
        "requirements.txt": requirements.encode("utf-8"),
        **seed_logs,
    }


def start_diff(run: Run, promotion: Promotion) -> str:
    """Return everything that the run changed, from its baseline to the record, as git has it: it can be applied."""
    return run.workspace.diff(str(promotion.lineage[0].commit_id), str(promotion.row.commit_id))


def imported(program: str) -> set[str]:
    """Return the modules that the program imports, at every level of packing."""
    return {name for source in script.unpacked(program) for name in script.imports(source)}


def submission(
    corpus: Corpus, promotion: Promotion, author: Author, today: date, versions: Mapping[str, str]
) -> dict[str, object]:
    """Return submission.json: the challenge's common fields, and how the claim was tested."""
    measured, test = promotion.measured, promotion.verdicts[0].test
    claim: dict[str, object] = {
        "author": author.name,
        "github_id": author.github_id,
        "name": _plain(promotion.title, 120),
        "blurb": _plain(promotion.row.hypothesis or promotion.row.title, 600),
        "date": str(today),
        "track": promotion.track.removeprefix("track_"),
        "val_bpb": promotion.val_bpb,
        "val_loss": sum(measurement.val_nats for measurement in measured) / len(measured),
        "seeds": [measurement.seed for measurement in measured],
        "seed_results": {
            str(measurement.seed): {
                "val_bpb": measurement.val_bpb,
                "val_loss": measurement.val_nats,
                "artifact_bytes": measurement.artifact_bytes,
                "train_time_s": round(measurement.train_wall_seconds, 3),
                "eval_time_s": round(measurement.evaluation_wall_seconds, 3),
            }
            for measurement in measured
        },
        "bytes_total": promotion.bytes_total,
        "bytes_code": measured[0].code_bytes,
        "hardware": probe.hardware(),
        "pytorch_version": versions.get("torch", "none"),
        "val_text_bytes": corpus.manifest.text_bytes[promotion.tier.split],
    }
    if len(measured) > 1:
        claim["val_bpb_std"] = stdev(measurement.val_bpb for measurement in measured)
    if test:
        claim["statistics"] = {
            "reference": one_line(f"{promotion.reference.title} ({promotion.reference.source})", 300),
            "reference_val_bpb": promotion.reference.val_bpb,
            "margin_bpb": promotion.verdicts[0].margin_bpb,
            "p_value": test.p_value,
        }
    if promotion.reasons:
        claim["non_record"] = [one_line(reason, 300) for reason in promotion.reasons]
    return claim


def readme(run: Run, promotion: Promotion, claim: Mapping[str, object], versions: Mapping[str, str]) -> str:
    """Return the record's README."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters["md"] = markdown
    text = (files("experiments.promotion") / "templates" / "record.md.j2").read_text("utf-8")
    return environment.from_string(text).render(
        promotion=promotion,
        claim=claim,
        versions=versions,
        manifest=run.corpus.manifest,
        run=run.name,
        level=run.level,
        steps=[step(run.ledger, row) for row in promotion.lineage],
        ablations=run.ledger.ablations(promotion.row.number),
        command=command(promotion),
        proposers=", ".join(sorted({by_of(row.proposal) or "the author of the baseline" for row in promotion.lineage})),
    )


def step(ledger: Ledger, row: Row) -> dict[str, object]:
    """Return a trial's row in the table of the lineage."""
    return {
        "number": f"{row.number:04d}",
        "title": row.title,
        "hypothesis": row.hypothesis,
        "val_bpb": row.val_bpb,
        "delta_bpb": row.delta_bpb,
        "lines": f"+{row.lines_added or 0} -{row.lines_removed or 0}",
        "by": by_of(row.proposal) or "-",
        "commit": (row.commit_id or "")[:10],
    }


def command(promotion: Promotion) -> str:
    """Return the command that repeats a seed without the harness; DATA is a folder in the layout of caddie's shards."""
    environment = {
        "SEED": str(promotion.measured[0].seed),
        "DATA_PATH": "$DATA/train",
        "VAL_PATH": f"$DATA/{promotion.tier.split}",
        "TOKENIZER_PATH": "$DATA/tokenizer.model",
    }
    words = ["python", *interpreter(promotion.tier.target.ranks)[1:], bundle.NAME]
    return " ".join([f"{name}={value}" for name, value in environment.items()] + [shlex.quote(word) for word in words])


def markdown(text: object) -> str:
    """Return untrusted text on one line, with the Markdown and HTML in it escaped and ordinary text as it is."""
    return MARKDOWN.sub(r"\\\1", _plain(str(text), 1000))


def _plain(text: str, limit: int) -> str:
    """Return text as one paragraph."""
    return one_line(" ".join(text.split()), limit)
