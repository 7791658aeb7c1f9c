"""A trial measured as a record: its results, its lineage and the path of its folder."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import fmean

from common.errors import CaddieError
from experiments.ledger.measurement import Measurement
from experiments.ledger.rows import Row
from experiments.ledger.store import Ledger
from experiments.tiers import NON_RECORD_TRACK, POCKET_TRACK, Tier
from preflight.records.frontier import Record, Seed, Verdict
from preflight.source.tree import Tree


@dataclass(frozen=True)
class Promotion:
    """A trial measured as a record, and the tests of its results."""

    row: Row
    tree: Tree
    program: Path
    tier: Tier
    folder: str  # records/<track>/<date>_<slug>, which did not exist when the promotion started
    measured: list[Measurement]
    looks: int  # how often someone has seen results and could have added seeds
    reference: Record
    verdicts: list[Verdict]
    lineage: list[Row]  # the baseline first, then every kept trial up to this one
    reasons: list[str] = field(default_factory=list)  # why it is not a record; empty if it is one
    name: str = ""  # given by the person

    @property
    def track(self) -> str:
        return self.folder.split("/")[1]

    @property
    def title(self) -> str:
        """The name that the person gave, or the titles of all kept changes, in a line."""
        return self.name or " + ".join(row.title for row in self.lineage[1:]) or self.row.title

    @property
    def val_bpb(self) -> float:
        return fmean(measurement.val_bpb for measurement in self.measured)

    @property
    def bytes_total(self) -> int:
        return max(measurement.artifact_bytes for measurement in self.measured)


def record_path(root: Path, track: str, row: Row, title: str, non_record: bool, today: date) -> str:
    """Return records/<track>/<date>_<title>_<trial>; raises CaddieError if it exists."""
    if non_record:
        track = f"{POCKET_TRACK}_non_record" if track == POCKET_TRACK else NON_RECORD_TRACK
    words = "_".join(re.findall(r"[A-Za-z0-9]+", title))[:60].strip("_") or "unnamed"
    name = f"records/{track}/{today}_{words}_{row.number:04d}"
    if (root / name).exists():
        raise CaddieError(f"{name} exists already; move it away to promote trial {row.number} again")
    return name


def baseline_record(run: str, start: Row, tokenizer: str, measured: Sequence[Measurement]) -> Record:
    """Return a run's own baseline as the record to beat: on a text of one's own there is no other."""
    seeds = [
        Seed(seed=each.seed, val_nats=each.val_nats, val_bpb=each.val_bpb, artifact_bytes=each.artifact_bytes)
        for each in measured
    ]
    return Record(
        title=f"the baseline of run {run}",
        source=f"trial {start.number:04d}, commit {start.commit_id}",
        date=start.started_at[:10],
        tokenizer=tokenizer,
        seeds=seeds,
    )


def lineage(ledger: Ledger, row: Row) -> list[Row]:
    """Return a trial and the incumbents before it, oldest first."""
    rows = [row]
    while (parent := ledger.with_commit(rows[0].parent)) and parent.number != rows[0].number:
        rows.insert(0, parent)
    return rows
