"""Writes the report's folder: index.html, a page per trial, and the scripts and styles that they load."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers.diff import DiffLexer

from common.state import State
from common.text import one_line
from experiments.analysis import gains, status
from experiments.analysis.overview import overviews
from experiments.analysis.pairing import pairs
from experiments.analysis.status import rerun_command
from experiments.ledger import mirror, usage
from experiments.ledger.rows import MeasurementRow, Row
from experiments.ledger.store import Ledger
from experiments.repo.workspace import Workspace
from experiments.report import artifact_bytes, charts
from experiments.report.summary import RunSummary, Trial, summarize
from experiments.run import progress
from experiments.run.layout import measurement_folder, open_ledger
from experiments.run.machine import profile_of
from experiments.runner.curves import Curve, read_curve

HERE = Path(__file__).parent
LOG_LINES, LOG_BYTES = 30, 1 << 16
PLOTLY = "plotly.min.js"
ASSETS = ("report.css", "report.js")


def write(root: Path, run: str) -> Path:
    """Write the pages of trials/<run>/report that have changed; return the path of index.html."""
    root = root.resolve()
    ledger = open_ledger(root, run)
    try:
        folder = root / "trials" / run
        summary = summarize(run, folder, ledger, profile_of(ledger))
        return _Report(root, summary, ledger, Workspace(root, run, "scratch.report")).write()
    finally:
        ledger.close()


class _Report:
    """One update of the folder: a trial's page is written again only if something on it changed."""

    def __init__(self, root: Path, summary: RunSummary, ledger: Ledger, workspace: Workspace) -> None:
        self.root, self.summary, self.ledger, self.workspace = root, summary, ledger, workspace
        self.folder = summary.folder / "report"
        loader = FileSystemLoader(HERE / "templates")
        self.environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=True, trim_blocks=True)
        self.environment.filters["line"] = lambda text, limit=200: one_line(str(text), limit)
        self.environment.filters["chart"] = chart
        self.environment.filters["exceeded_limit"] = usage.exceeded_limit
        self.version = hashlib.sha256(
            b"".join(
                path.read_bytes() for path in sorted(HERE.rglob("*")) if path.suffix in (".py", ".j2", ".css", ".js")
            )
        ).hexdigest()

    def write(self) -> Path:
        (self.folder / "trials").mkdir(parents=True, exist_ok=True)
        self._write_assets()
        before = self._stored_digests()
        now = {str(trial.row.number): self._digest(i, trial) for i, trial in enumerate(self.summary.trials)}
        for i, trial in enumerate(self.summary.trials):
            page = self.folder / trial.href
            if before.get(str(trial.row.number)) != now[str(trial.row.number)] or not page.exists():
                self._replace(page, self._render_trial(i, trial))
        self._replace(self.folder / "index.html", self._render_index())
        self._replace(self.folder / "pages.json", json.dumps(now))
        self._write_runs()
        return self.folder / "index.html"

    def _write_assets(self) -> None:
        assets = self.folder / "assets"
        assets.mkdir(exist_ok=True)
        contents = {name: (HERE / "assets" / name).read_text("utf-8") for name in ASSETS}
        contents["pygments.css"] = HtmlFormatter(style="default").get_style_defs(".diff")
        if not (assets / PLOTLY).exists():
            contents[PLOTLY] = get_plotlyjs()
        for name, content in contents.items():
            self._replace(assets / name, content)

    def _stored_digests(self) -> dict[str, str]:
        try:
            digests = json.loads((self.folder / "pages.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return digests if isinstance(digests, dict) else {}

    def _digest(self, i: int, trial: Trial) -> str:
        """Return a digest of everything that the page shows."""
        neighbors = [self.summary.trials[j].href if 0 <= j < len(self.summary.trials) else "" for j in (i - 1, i + 1)]
        content = [
            *(self.version, asdict(trial.row), mirror.export(self.ledger, trial.row.number)),
            *(neighbors, trial.model_dollars),
        ]
        return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()

    def _replace(self, path: Path, text: str) -> None:
        # The name holds the process id: `report` may be called while a run updates the same page.
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)  # a browser sees the old page or the new one

    def _write_runs(self) -> None:
        """Write an index of all runs next to the runs' folders, with the styles of this run's report."""
        found = []
        for each in overviews(self.root):
            page = f"{each.name}/report/index.html"
            found.append({**asdict(each), "page": page if (self.root / "trials" / page).exists() else ""})
        assets = f"{self.summary.run}/report/assets"
        text = self.environment.get_template("runs.html.j2").render(runs=found, as_of=_as_of(), assets=assets)
        self._replace(self.root / "trials" / "index.html", text)

    def _render_index(self) -> str:
        summary, tier = self.summary, self.summary.profile.tier
        return self.environment.get_template("index.html.j2").render(
            summary=summary,
            best=status.latest_incumbent(summary.rows),
            total=gains.total(self.ledger, tier),
            gained=gains.total_sentence(self.ledger, tier),
            gains=gains.gains(self.ledger, tier, summary.rows),
            why=gains.WHY,
            as_of=_as_of(),
            running=progress.current(self.ledger),
            start=next((row for row in summary.rows if row.state is State.BASELINE), None),
            sentence=status.summary_sentence(summary.rows),
            progress=charts.progress(summary),
            time=charts.bars(summary.hours, "hours", "{:.2f} h"),
            states=sorted({trial.row.state for trial in summary.trials}),
            kinds=sorted({trial.row.kind for trial in summary.trials}),
            lessons=_lessons(summary.folder),
            promotions=self.ledger.promotions(),
            assets="assets",
        )

    def _render_trial(self, i: int, trial: Trial) -> str:
        row, tier = trial.row, self.summary.profile.tier
        parent = self.ledger.with_commit(row.parent)
        measurements = self.ledger.measurement_rows(row.number)
        search, fresh = (pairs(self.ledger, row, tier.name, fresh) for fresh in (False, True))
        first = next((measurement for measurement in measurements if measurement.tier == tier.name), None)
        folder = measurement_folder(self.summary.folder, row.number, first) if first else None
        curves = list(self._curves(row, parent, first)) if first else []
        seed = first.measured.seed if first else 0
        return self.environment.get_template("trial.html.j2").render(
            summary=self.summary,
            trial=trial,
            row=row,
            parent=parent if parent and parent.number != row.number else None,
            before=self.summary.trials[i - 1] if i else None,
            after=self.summary.trials[i + 1] if i + 1 < len(self.summary.trials) else None,
            measurements=measurements,
            budgets=usage.describe(row),
            seeds=charts.seeds(search, fresh, trial.noise_bpb) if search else None,
            first=first.measured if first else None,
            loss=charts.loss(curves) if curves else None,
            streams=artifact_bytes.read(folder / "weights.bin") if folder else [],
            diff=self._diff(row),
            stages=self.ledger.stages(row.number),
            rescores=self.ledger.rescores(row.number),
            ablations=self.ledger.ablations(row.number),
            remarks=self.ledger.remarks(row.number),
            log=_tail(folder / "train.log") if folder else [],
            rerun=rerun_command(self.summary.run, row.number, seed) if first else "",
            assets="../assets",
        )

    def _curves(self, row: Row, parent: Row | None, first: MeasurementRow) -> Iterator[tuple[str, Curve, bool]]:
        seed = first.measured.seed
        if parent and parent.number != row.number:
            for measurement in self.ledger.measurement_rows(parent.number):
                if measurement.measured.seed == seed and (points := self._curve(parent, measurement)):
                    yield f"incumbent {parent.number:04d}", points, False
                    break
        if points := self._curve(row, first):
            yield f"trial {row.number:04d}", points, True

    def _curve(self, row: Row, measurement: MeasurementRow) -> Curve:
        return read_curve(measurement_folder(self.summary.folder, row.number, measurement) / "metrics.jsonl")

    def _diff(self, row: Row) -> Markup | str:
        if not row.commit_id or row.commit_id == row.parent:
            return ""
        text = self.workspace.diff(row.parent, row.commit_id)
        safe = "\n".join(one_line(line, 500) for line in text.splitlines())
        return Markup(highlight(safe, DiffLexer(), HtmlFormatter(cssclass="diff")))


def _as_of() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M}"


def chart(figure: go.Figure) -> Markup:
    """Return the element of a page that report.js draws the figure into."""
    return Markup('<div class="chart" style="height:{}px" data-figure="{}"></div>').format(
        figure.layout.height or 320, figure.to_json()
    )


def _tail(path: Path) -> list[str]:
    """Return the last lines of a program's log, safe to show."""
    if not path.is_file() or path.is_symlink():
        return []
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - LOG_BYTES))
        lines = file.read().decode("utf-8", "backslashreplace").splitlines()
    return [one_line(line, 300) for line in lines[-LOG_LINES:]]


def _lessons(folder: Path) -> list[str]:
    path = folder / "lessons.md"
    if not path.is_file():
        return []
    return [
        one_line(line[2:], 300) for line in path.read_text("utf-8", "replace").splitlines() if line.startswith("- ")
    ]
