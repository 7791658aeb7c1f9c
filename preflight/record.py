"""Is a record folder what it says it is? Any folder, ours or foreign: nothing in it is run.

Files, the JSON's shape, README = JSON = logs, the script as it is shipped, its real bytes with what it reads beside
it, caps and clocks, seeds of one configuration, the bytes of text that the losses imply, and the p-value once more.
What the challenge wants, and what its maintainers let pass, is in rules.md sections 1, 2, 7, 8, 9.
"""

import codecs
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from data.text_files import PACKED, Unreadable, unpacked
from preflight import logs, readme, script, submission
from preflight.claims import Claimed, Claims, digits, seed_in
from preflight.finding import Finding
from preflight.limits import ARTIFACT_BYTES, EVALUATION_SECONDS, RECORD_SEEDS, TRAIN_SECONDS
from preflight.logs import Log
from preflight.submission import Submission
from preflight.text import one_line

MOST_BYTES = 64 << 20  # of one file that is read
TOLERANCE_SECONDS = 1.0  # official logs stop up to 0.14 s late; more than 1 s was challenged (rules.md section 2)
TEXT_BYTES = 151_080_000  # of the challenge's validation text
TEXT_TOLERANCE = 1e-3
BYTES_PER_TOKEN = {"sp1024": 2.4359, "sp4096": 3.3197, "sp8192": 3.72663, "CaseOps": 3.15715, "byte260": 1.0}
TEN_MINUTES = "track_10min_16mb"
CHALLENGE_TRACKS = (TEN_MINUTES, "track_non_record_16mb")
TRACKS = (*CHALLENGE_TRACKS, "track_pocket", "track_pocket_non_record")  # the last two are caddie's own
NO_LOG = {*(".py", ".json", ".md", ".sh", ".toml", ".yaml", ".yml", ".csv", ".tsv", ".model", ".vocab", ".bin", ".pt")}
ARCHIVES = (".zip", ".7z", ".tar", ".tgz", ".rar", ".lz4", ".br")
MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
LN2 = 0.6931471805599453


@dataclass
class Folder:
    """A record folder as read: `claimed` are the logs that its numbers come from."""

    path: Path
    submission: Submission | None = None
    readme: str = ""
    logs: dict[str, Log] = field(default_factory=dict)
    claimed: dict[str, Claimed] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what could not be checked, or is no fault but worth knowing

    def complain(self, rule: str, where: str, got: str, expected: str) -> None:
        self.findings.append(Finding(rule, one_line(where, 120), got, expected))

    @property
    def track(self) -> str:
        """By its place; a folder that stands in no track is of the one that its JSON names, or of the strictest."""
        if (place := self.path.parent.name) in TRACKS:
            return place
        told = f"track_{self.submission.track or ''}" if self.submission else ""
        return told if told in TRACKS else TEN_MINUTES

    @property
    def challenge_track(self) -> bool:
        """Whether it is scored on the challenge's text."""
        return self.track in CHALLENGE_TRACKS

    @property
    def timed(self) -> bool:
        """Whether the ten-minute clocks hold."""
        return "non_record" not in self.track


def check(path: Path) -> Folder:
    """All checks of one folder; raises OSError if it cannot be read."""
    folder = Folder(path.resolve())
    _read(folder)
    if folder.submission:
        told = (folder.submission.track or "").replace("-", "_").removeprefix("track_")
        if folder.track == TEN_MINUTES and "non_record" in told:
            folder.complain(
                "schema", "submission.json", f"track {one_line(told, 60)}", f"that of its place, {TEN_MINUTES}"
            )
        folder.claimed = Claims(folder.submission, folder.logs, folder.complain, folder.notes).check()
        _readme(folder, folder.submission)
    scores = sum(one.final is not None for one in folder.claimed.values())
    if folder.timed and 0 < scores < RECORD_SEEDS:
        folder.notes.append(f"its score rests on {scores} log{'s' * (scores > 1)}; {RECORD_SEEDS} seeds are usual")
    folder.claimed = folder.claimed or {name: Claimed(log, log.final) for name, log in folder.logs.items()}
    _bytes(folder)
    _one_configuration(folder)
    for name, log in folder.logs.items():
        if log.not_finite and (name in folder.claimed or not log.finals):
            folder.complain("numbers", name, f"{log.not_finite}, the last score it prints", "a number")
        elif log.not_finite:
            folder.notes.append(f"{name}: not claimed; it ends with {log.not_finite}")
        if folder.timed:
            _clocks(folder, name, log)
    for name, one in folder.claimed.items():
        _text_bytes(folder, name, one)
    return folder


def _read(folder: Folder) -> None:
    seen: set[str] = set()
    names = [path for path in folder.path.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in sorted(names, key=lambda path: ("seed" not in path.name, path)):
        name = path.relative_to(folder.path).as_posix()
        text = _words(folder, path, name)
        log = logs.parse(text)
        if (log.final or log.stop_step or log.not_finite) and text not in seen:  # a copy is no other seed
            seen.add(text)
            folder.logs[name] = log
    found = sorted(folder.path.glob("submission*.json"))
    if not (folder.path / "submission.json").is_file():
        folder.complain("files", "submission.json", ", ".join(path.name for path in found) or "none", "this file")
    if found:
        exact = folder.path / "submission.json"
        folder.submission, faults = submission.read(exact if exact in found else found[0])
        folder.findings += faults
    readme = folder.path / "README.md"
    if readme.is_file() and not readme.is_symlink() and readme.stat().st_size <= MOST_BYTES:
        folder.readme = readme.read_text("utf-8", "replace")
    else:
        folder.complain("files", "README.md", "none", "a description of the record")
    if not any(log.final for log in folder.logs.values()):
        folder.complain("files", "train_seed*.log", "no log with a score", "a training log of every seed")


def _words(folder: Folder, path: Path, name: str) -> str:
    """The text of what may be a log, whatever it is called and however it is stored; empty for anything else."""
    if path.suffix.lower() in NO_LOG or path.name in ("requirements.txt", "README.md") or not 0 < path.stat().st_size:
        return ""
    if path.stat().st_size > MOST_BYTES:
        folder.notes.append(f"{name}: {path.stat().st_size:,} bytes, not read")
        return ""
    try:
        raw, packed = path.read_bytes(), path.suffix.lower()
        if packed in PACKED:
            raw = unpacked(raw, packed, MOST_BYTES)
        if raw.startswith(MARKS) or b"\0" not in raw[:4096]:
            encoding = "utf-16" if raw.startswith(MARKS) else "utf-8-sig"
            return raw.decode(encoding, "replace")
    except Unreadable as error:
        folder.notes.append(f"{name}: {error}, not read")
    else:
        if packed in (".log", ".txt", ".out") or packed in ARCHIVES:
            folder.notes.append(f"{name}: no text, not read")
    return ""


def _readme(folder: Folder, claim: Submission) -> None:
    """Headline and tables of the README are those of the JSON and the logs."""
    if folder.readme:
        seeds: dict[int, list[float]] = {}
        for name, one in folder.claimed.items():
            seed = one.log.seed if one.log.seed is not None else seed_in(name)
            if seed is not None and one.final:
                seeds[seed] = [*(final.val_bpb for final in one.log.finals), one.final.val_bpb]
        told = claim.val_bpb if claim.val_bpb != submission.NOT_SAID else None
        readme.check(folder.readme, told, seeds, folder.complain)


def _bytes(folder: Folder) -> None:
    """Claimed, logged and real bytes against the cap; the script against the one that the logs tell of."""
    claim = folder.submission
    if claim and claim.bytes_total and claim.bytes_total > ARTIFACT_BYTES:
        folder.complain("oversize", "submission.json", f"bytes_total {claim.bytes_total:,}", f"{ARTIFACT_BYTES:,}")
    logged = [one.log for one in folder.claimed.values()]
    found = script.examine(folder.path, [log.code_bytes for log in logged if log.code_bytes])
    folder.findings += found.findings
    folder.notes += found.notes
    for name, log in [(name, one.log) for name, one in folder.claimed.items()]:
        if log.total_bytes and log.total_bytes > ARTIFACT_BYTES:
            folder.complain("oversize", name, f"{log.total_bytes:,} bytes by its own log", f"{ARTIFACT_BYTES:,}")
        if not found.main:
            continue
        if log.model_bytes and (real := log.model_bytes + found.code_bytes) > ARTIFACT_BYTES:
            shipped = ", ".join(f"{part} {size:,}" for part, size in found.parts.items())
            got = f"{real:,} bytes: model {log.model_bytes:,}, {shipped}"
            folder.complain("oversize", name, got, f"{ARTIFACT_BYTES:,} with the code as it is shipped")
        ran = {log.code_bytes, log.packed_code_bytes} - {None}
        if ran and not ran & {*found.sizes.values(), found.code_bytes}:
            sizes = " or ".join(f"{size:,}" for size in sorted(filter(None, ran)))
            here = ", ".join(f"{part} {size:,}" for part, size in found.sizes.items())
            folder.complain("script", name, f"a run of {sizes} bytes of code", f"a script that is here: {here}")
    if claim and found.main:
        _code(folder, claim, found)
    if claim and claim.bytes_total and (totals := _totals(folder, claim, found.main_bytes)):
        if claim.bytes_total not in totals:
            near = min(totals, key=lambda total: abs(total - (claim.bytes_total or 0)))
            folder.complain(
                "bytes", "submission.json", f"bytes_total {claim.bytes_total:,}", f"{near:,} as in the logs"
            )


def _code(folder: Folder, claim: Submission, found: script.Script) -> None:
    """The claimed code bytes are a log's, or a script's."""
    logged = {size for log in folder.logs.values() for size in (log.code_bytes, log.packed_code_bytes) if size}
    known = logged | {found.code_bytes, *found.sizes.values()}
    if claim.bytes_code and claim.bytes_code not in known:
        near = min(known, key=lambda size: abs(size - (claim.bytes_code or 0)))
        folder.complain("bytes", "submission.json", f"bytes_code {claim.bytes_code:,}", f"{near:,}, as a log or a file")


def _totals(folder: Folder, claim: Submission, main_bytes: int) -> set[int]:
    """What `bytes_total` may be: a log's own total, its model with the script, a seed's, or a mean of these."""
    logged = [log.total_bytes for log in folder.logs.values() if log.total_bytes]
    shipped = [log.model_bytes + main_bytes for log in folder.logs.values() if log.model_bytes]
    seeds = [result.artifact_bytes for result in (claim.seed_results or {}).values() if result.artifact_bytes]
    means = {round(fmean(some)) for some in (logged, shipped, seeds) if some}
    return {*logged, *shipped, *seeds, *means}


def _one_configuration(folder: Folder) -> None:
    """Three seeds of one and the same program and data (cocohearts on openai/parameter-golf #2124)."""
    if not folder.submission:
        return  # nobody says that these logs belong together
    logged = {name: one.log for name, one in folder.claimed.items()}
    for what, values in {
        "code": {name: log.code_bytes for name, log in logged.items()},
        "packed code": {name: log.packed_code_bytes for name, log in logged.items()},
        "validation tokens": {name: log.val_tokens for name, log in logged.items()},
        "training shards": {name: log.train_shards for name, log in logged.items()},
    }.items():
        if len({value for value in values.values() if value}) > 1:
            told = ", ".join(f"{name} {value:,}" for name, value in values.items() if value)
            folder.complain("seeds", "logs", f"{what}: {told}", "one configuration for all seeds")


def _clocks(folder: Folder, name: str, log: Log) -> None:
    """A log that nobody claims is only worth a note."""
    claimed = folder.claimed.get(name)
    train = (log.stop_milliseconds or 0) / 1000
    with_data = train + (log.reads_data_seconds or 0)
    for what, seconds, limit in (
        ("of training", train, TRAIN_SECONDS),
        ("of training and of calibration on training data", with_data if with_data > train else 0, TRAIN_SECONDS),
        ("of evaluation", log.seconds_of(claimed.final if claimed else log.final) or 0, EVALUATION_SECONDS),
        ("of evaluation in all", log.total_evaluation_seconds or 0, EVALUATION_SECONDS),
    ):
        if seconds > limit + TOLERANCE_SECONDS:
            if claimed:
                folder.complain("time", name, f"{seconds:.1f} s {what}", f"{limit:.0f} s")
            else:
                folder.notes.append(f"{name}: not claimed; {seconds:.1f} s {what}")
    if log.calibration_seconds and not log.reads_data_seconds and train + log.calibration_seconds > TRAIN_SECONDS + 60:
        folder.notes.append(f"{name}: {log.calibration_seconds:.0f} s of calibration on its own text after the stop")
    if claimed and claimed.final and not train:
        folder.notes.append(f"{name}: says nothing of the time it trained")


def _text_bytes(folder: Folder, name: str, one: Claimed) -> None:
    """Nats and bits per byte imply how many bytes were counted: are they those of the text?"""
    log, final = one.log, one.final
    if not final or not final.val_bpb:
        return
    per_token = final.val_nats / LN2 / final.val_bpb
    rounding = 10.0 ** -min(digits(final.val_bpb), digits(final.val_nats)) / final.val_bpb
    tolerance = TEXT_TOLERANCE + rounding
    claim = folder.submission
    whole = TEXT_BYTES if folder.challenge_track or not claim else claim.val_text_bytes
    if log.val_tokens and whole:
        implied = per_token * log.val_tokens
        if abs(implied / whole - 1) > tolerance:
            got = f"{implied / 1e6:.2f} M bytes of text implied ({per_token:.4f} a token, {log.val_tokens:,} tokens)"
            folder.complain("text_bytes", name, got, f"{whole / 1e6:.2f} M")
    elif not any(abs(per_token / known - 1) < tolerance for known in BYTES_PER_TOKEN.values()):
        folder.notes.append(
            f"{name}: {per_token:.4f} bytes a token fit no known tokenizer, and its tokens are not said"
        )
