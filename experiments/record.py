"""A promotion as a record folder in the challenge's own shape: script, logs, numbers, and a README that says why.

Every number here was measured by the harness; what the program printed stands in the logs, marked as its own words.
"""

import hashlib
import json
import platform
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from statistics import stdev

from jinja2 import Environment, StrictUndefined

from data.corpus import Corpus
from data.errors import CaddieError
from experiments.bench import Bench
from experiments.checkout import Checkout
from experiments.curves import read as read_curve
from experiments.job import Measured
from experiments.ledger import Ledger, Row
from experiments.promote import Promotion
from experiments.proposal import by_of
from preflight import bundle, logs, machine, record, script, shipped
from preflight.phases import interpreter
from preflight.text import one_line

HUMAN = "train_gpt_human.py"
MOST_LOG_BYTES = 1 << 20  # of a program's own words
MOST_STEPS = 10**7  # the program counts them itself
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|!~&$/@]|(?<=www)\.)")


@dataclass(frozen=True)
class Author:
    name: str
    github_id: str


def write(bench: Bench, made: Promotion, author: Author, today: date) -> str:
    """Write, check and commit the record's folder; returns its path in the repository; raises CaddieError."""
    root, name = bench.workspace.root, made.folder
    folder = root / name
    made_of = contents(bench, made, author, today)
    folder.mkdir(parents=True)
    try:
        for path, content in made_of.items():
            (folder / path).write_bytes(content)
        if faults := record.check(folder).findings:
            raise CaddieError(f"{name}: our own check complains, nothing is committed: {faults[0]}")
        kind = "Packed" if made.reasons else "Record"
        message = f"{kind}: {made.val_bpb:.5f} bpb on {len(made.measured)} seeds, {one_line(made.row.title, 60)}"
        commit = Checkout(root, bench.run).commit_paths([f"{name}/{path}" for path in made_of], message)
    except BaseException:
        shutil.rmtree(folder)
        raise
    bench.ledger.add_promotion(made.row.number, name, commit)
    bench.workspace.note(str(made.row.commit_id), f"promoted: {name}, {made.val_bpb:.6f} bpb")
    return name


def contents(bench: Bench, made: Promotion, author: Author, today: date) -> dict[str, bytes]:
    """Every file of the folder."""
    program = made.program.read_bytes()
    modules = imported(program.decode("ascii"))
    versions = {"python": platform.python_version(), **machine.versions(modules)}
    told = {
        f"train_seed{one.seed}.log": seed_log(bench, made, one, program, versions).encode("utf-8")
        for one in made.measured
    }
    claim = submission(bench.corpus, made, author, today, versions)
    human = shipped.readable(made.tree, one_line(made.title, 80))
    public = {name: version.partition("+")[0] for name, version in versions.items()}  # an index knows no local versions
    requirements = "".join(f"{name}=={version}\n" for name, version in public.items() if name != "python")
    compile(human, HUMAN, "exec", dont_inherit=True)
    return {
        "README.md": readme(bench, made, claim, versions).encode("utf-8"),
        "submission.json": (json.dumps(claim, indent=2) + "\n").encode("utf-8"),
        bundle.NAME: program,
        HUMAN: human.encode("utf-8"),
        "requirements.txt": requirements.encode("utf-8"),
        **told,
    }


def imported(program: str) -> set[str]:
    """Modules that the program imports, whatever is packed in it."""
    return {name for source in script.unpacked(program) for name in script.imports(source)}


def submission(
    corpus: Corpus, made: Promotion, author: Author, today: date, versions: Mapping[str, str]
) -> dict[str, object]:
    """submission.json: the challenge's common fields, and how the claim was tested."""
    measured, test = made.measured, made.verdicts[0].test
    claim: dict[str, object] = {
        "author": author.name,
        "github_id": author.github_id,
        "name": one_line(made.title, 120),
        "blurb": one_line(made.row.hypothesis or made.row.title, 600),
        "date": str(today),
        "track": made.track.removeprefix("track_"),
        "val_bpb": made.val_bpb,
        "val_loss": sum(one.val_nats for one in measured) / len(measured),
        "seeds": [one.seed for one in measured],
        "seed_results": {
            str(one.seed): {
                "val_bpb": one.val_bpb,
                "val_loss": one.val_nats,
                "artifact_bytes": one.artifact_bytes,
                "train_time_s": round(one.train_wall_seconds, 3),
                "eval_time_s": round(one.evaluation_wall_seconds, 3),
            }
            for one in measured
        },
        "bytes_total": made.bytes_total,
        "bytes_code": measured[0].code_bytes,
        "hardware": machine.hardware(),
        "pytorch_version": versions.get("torch", "none"),
        "val_text_bytes": corpus.manifest.text_bytes[made.tier.split],
    }
    if len(measured) > 1:
        claim["val_bpb_std"] = stdev(one.val_bpb for one in measured)
    if test:
        claim["statistics"] = {
            "reference": one_line(f"{made.reference.title} ({made.reference.source})", 300),
            "reference_val_bpb": made.reference.val_bpb,
            "margin_bpb": made.verdicts[0].margin_bpb,
            "p_value": test.p_value,
        }
    if made.reasons:
        claim["non_record"] = [one_line(reason, 300) for reason in made.reasons]
    return claim


def seed_log(bench: Bench, made: Promotion, one: Measured, program: bytes, versions: Mapping[str, str]) -> str:
    """One seed's log: what ran and where, what the program printed, then what the harness measured from outside."""
    taken = bench.ledger.taken(made.row.number)
    folder = bench.measured_in(made.row.number, next(its for its in reversed(taken) if its.measured == one))
    manifest, split, proof = bench.corpus.manifest, made.tier.split, one.honesty
    milliseconds = 1000 * one.train_wall_seconds
    curve = read_curve(folder / "metrics.jsonl")
    lines = [
        f"train_gpt.py sha256:{hashlib.sha256(program).hexdigest()}",
        f"versions {json.dumps(versions)}",
        f"hardware {machine.hardware()}",
        f"environment {json.dumps({'PRESET': made.tier.target.preset, **made.tier.target.environment})}",
        f"sandbox {bench.level}; artifact sha256:{one.artifact_sha256}",
        f"seed:{one.seed}",
        f"val_tokens: {manifest.tokens[split] - 1}",
        "--- training, in the program's own words ---",
        *_own_words(folder / "train.log"),
        "--- packing, in the program's own words ---",
        *_own_words(folder / "pack.log"),
        "--- measured from outside ---",
    ]
    step = min(max(curve[-1].step, 1), MOST_STEPS) if curve else 1
    loss = curve[-1].loss if curve else 0.0
    lines.append(
        f"step:{step}/{step} train_loss:{loss:.4f} train_time:{milliseconds:.0f}ms step_avg:{milliseconds / step:.2f}ms"
    )
    return "\n".join(
        [
            *lines,
            f"Serialized model packed: {one.model_bytes} bytes",
            f"Code size: {one.code_bytes} bytes",
            f"Total submission size packed: {one.artifact_bytes} bytes",
            f"proof: {proof.tokens} losses read twice, {proof.places} distributions, largest difference "
            f"{proof.largest_difference_nats:.3g} nats, noise {proof.noise_nats:.3g}; val_bpb has {one.charge_bpb:.3g} "
            f"charged for it and is off by at most {one.honesty_bpb:.6f} smoothly, "
            f"{one.rare_bpb:.6f} by a lie on under {proof.rare_share:.4%} of tokens",
            f"final_conversation_exact val_loss:{one.val_nats:.8f} val_bpb:{one.val_bpb:.8f} "
            f"eval_time:{1000 * one.evaluation_wall_seconds:.0f}ms",
            "",
        ]
    )


def _own_words(path: Path) -> list[str]:
    """A program's log; a line that could pass for one of ours is quoted, but for the steps of training."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        text = file.read(MOST_LOG_BYTES).decode("utf-8", "backslashreplace")
    shown = [one_line(line, 500) for line in text.splitlines()]
    return [line if _harmless(line) else f"> {line}" for line in shown]


def _harmless(line: str) -> bool:
    step = logs.STEP.match(line)
    return logs.parse(line) == logs.Log() or (step is not None and "val_" not in line)


def readme(bench: Bench, made: Promotion, claim: Mapping[str, object], versions: Mapping[str, str]) -> str:
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters["md"] = markdown
    text = (files("experiments") / "templates" / "record.md.j2").read_text("utf-8")
    return environment.from_string(text).render(
        made=made,
        claim=claim,
        versions=versions,
        manifest=bench.corpus.manifest,
        run=bench.run,
        level=bench.level,
        steps=[step(bench.ledger, row) for row in made.lineage],
        ablations=bench.ledger.ablations(made.row.number),
        command=command(made),
        believed=", ".join(sorted({by_of(row.proposal) or "the person who began" for row in made.lineage})),
    )


def step(ledger: Ledger, row: Row) -> dict[str, object]:
    """One line of a lineage."""
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


def command(made: Promotion) -> str:
    """What repeats one seed without the harness: data in DATA, laid out as caddie's shards are."""
    environment = {
        "SEED": str(made.measured[0].seed),
        "DATA_PATH": "$DATA/train",
        "VAL_PATH": f"$DATA/{made.tier.split}",
        "TOKENIZER_PATH": "$DATA/tokenizer.model",
    }
    words = ["python", *interpreter(made.tier.target.ranks)[1:], bundle.NAME]
    return " ".join([f"{name}={value}" for name, value in environment.items()] + [shlex.quote(word) for word in words])


def markdown(text: object) -> str:
    """Untrusted text on one line, with nothing in it that Markdown or HTML would take for its own."""
    return MARKDOWN.sub(r"\\\1", one_line(str(text), 1000))
