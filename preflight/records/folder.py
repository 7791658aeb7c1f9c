"""Reading of a record folder: its submission, README and logs, whatever the logs are called and however stored."""

import codecs
from dataclasses import dataclass, field
from pathlib import Path

from common.text import one_line
from data.text_files import DECOMPRESSORS, Unreadable, decompress
from preflight.finding import Finding
from preflight.records import logs, submission
from preflight.records.claims import Claimed
from preflight.records.logs import Log
from preflight.records.submission import Submission

MAX_FILE_BYTES = 64 << 20  # larger files are not read
TEN_MINUTES = "track_10min_16mb"
CHALLENGE_TRACKS = (TEN_MINUTES, "track_non_record_16mb")
TRACKS = (*CHALLENGE_TRACKS, "track_pocket", "track_pocket_non_record")  # the last two are caddie's own
NOT_LOGS = {
    ".py", ".json", ".md", ".sh", ".toml", ".yaml", ".yml", ".csv", ".tsv", ".diff", ".patch", ".model", ".vocab",
    ".bin", ".pt",
}  # fmt: skip
ARCHIVES = (".zip", ".7z", ".tar", ".tgz", ".rar", ".lz4", ".br")
BYTE_ORDER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass
class Folder:
    """The contents of a record folder; `claimed` are the logs that its numbers come from."""

    path: Path
    submission: Submission | None = None
    readme: str = ""
    logs: dict[str, Log] = field(default_factory=dict)
    claimed: dict[str, Claimed] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what could not be checked, or is worth knowing but not a fault

    def complain(self, rule: str, where: str, got: str, expected: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(rule, one_line(where, 120), got, expected))

    @property
    def track(self) -> str:
        """The track by the parent folder; otherwise the one that the JSON names, or else the strictest."""
        if (parent := self.path.parent.name) in TRACKS:
            return parent
        named = f"track_{self.submission.track or ''}" if self.submission else ""
        return named if named in TRACKS else TEN_MINUTES

    @property
    def challenge_track(self) -> bool:
        """True if it is scored on the challenge's validation text."""
        return self.track in CHALLENGE_TRACKS

    @property
    def timed(self) -> bool:
        """True if the ten-minute limits apply."""
        return "non_record" not in self.track


def read(folder: Folder) -> None:
    """Read the files of a folder into it."""
    seen: set[str] = set()
    files = [path for path in folder.path.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in sorted(files, key=lambda path: ("seed" not in path.name, path)):
        name = path.relative_to(folder.path).as_posix()
        text = _log_text(folder, path, name)
        log = logs.parse(text)
        if (log.final or log.stop_step or log.not_finite) and text not in seen:  # a copy is not another seed
            seen.add(text)
            folder.logs[name] = log
    submissions = sorted(folder.path.glob("submission*.json"))
    if not (folder.path / "submission.json").is_file():
        folder.complain("files", "submission.json", ", ".join(path.name for path in submissions) or "none", "this file")
    if submissions:
        exact = folder.path / "submission.json"
        folder.submission, faults = submission.read(exact if exact in submissions else submissions[0])
        folder.findings += faults
    readme = folder.path / "README.md"
    if readme.is_file() and not readme.is_symlink() and readme.stat().st_size <= MAX_FILE_BYTES:
        folder.readme = readme.read_text("utf-8", "replace")
    else:
        folder.complain("files", "README.md", "none", "a description of the record")
    if not any(log.final for log in folder.logs.values()):
        folder.complain("files", "train_seed*.log", "no log with a score", "a training log of every seed")


def _log_text(folder: Folder, path: Path, name: str) -> str:
    """Return the text of a file that may be a log, decompressed and decoded; empty for anything else."""
    if path.suffix.lower() in NOT_LOGS or path.name in ("requirements.txt", "README.md") or not 0 < path.stat().st_size:
        return ""
    if path.stat().st_size > MAX_FILE_BYTES:
        folder.notes.append(f"{name}: {path.stat().st_size:,} bytes, not read")
        return ""
    try:
        raw, suffix = path.read_bytes(), path.suffix.lower()
        if suffix in DECOMPRESSORS:
            raw = decompress(raw, suffix, MAX_FILE_BYTES)
        if raw.startswith(BYTE_ORDER_MARKS) or b"\0" not in raw[:4096]:
            encoding = "utf-16" if raw.startswith(BYTE_ORDER_MARKS) else "utf-8-sig"
            return raw.decode(encoding, "replace")
    except Unreadable as error:
        folder.notes.append(f"{name}: {error}, not read")
    else:
        if suffix in (".log", ".txt", ".out") or suffix in ARCHIVES:
            folder.notes.append(f"{name}: not text, not read")
    return ""
