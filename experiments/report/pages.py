"""The folder itself: index.html, a page for each trial, and what they load, all beside them on disk."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers.diff import DiffLexer

from data.state import State
from experiments import budgets, mirror, view
from experiments.bench import measured_in
from experiments.curves import Curve
from experiments.curves import read as read_curve
from experiments.ledger import Ledger, Row, Taken
from experiments.replicates import pairs
from experiments.report import charts, streams
from experiments.report.story import Story, Trial, tell
from experiments.runs import open_ledger, profile_of
from experiments.show_cli import again
from experiments.workspace import Workspace
from preflight.text import one_line

HERE = Path(__file__).parent
LOG_LINES, LOG_BYTES = 30, 1 << 16
PLOTLY = "plotly.min.js"
ASSETS = ("report.css", "report.js")


def write(root: Path, run: str) -> Path:
    """Write what is new of trials/<run>/report; returns its index.html."""
    root = root.resolve()
    ledger = open_ledger(root, run)
    try:
        folder = root / "trials" / run
        story = tell(run, folder, ledger, profile_of(ledger))
        return _Report(root, story, ledger, Workspace(root, run, "scratch.report")).write()
    finally:
        ledger.close()


class _Report:
    """One writing of the folder; a trial's page is written again only if something about it changed."""

    def __init__(self, root: Path, story: Story, ledger: Ledger, workspace: Workspace) -> None:
        self.root, self.story, self.ledger, self.workspace = root, story, ledger, workspace
        self.folder = story.folder / "report"
        loader = FileSystemLoader(HERE / "templates")
        self.environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=True, trim_blocks=True)
        self.environment.filters["line"] = lambda text, limit=200: one_line(str(text), limit)
        self.environment.filters["chart"] = chart
        self.environment.filters["met"] = budgets.met
        self.version = hashlib.sha256(
            b"".join(
                path.read_bytes() for path in sorted(HERE.rglob("*")) if path.suffix in (".py", ".j2", ".css", ".js")
            )
        ).hexdigest()

    def write(self) -> Path:
        (self.folder / "trials").mkdir(parents=True, exist_ok=True)
        self._assets()
        known = self._digests()
        now = {str(trial.row.number): self._digest(i, trial) for i, trial in enumerate(self.story.trials)}
        for i, trial in enumerate(self.story.trials):
            page = self.folder / trial.href
            if known.get(str(trial.row.number)) != now[str(trial.row.number)] or not page.exists():
                self._put(page, self._trial(i, trial))
        self._put(self.folder / "index.html", self._index())
        self._put(self.folder / "pages.json", json.dumps(now))
        return self.folder / "index.html"

    def _assets(self) -> None:
        assets = self.folder / "assets"
        assets.mkdir(exist_ok=True)
        contents = {name: (HERE / "assets" / name).read_text("utf-8") for name in ASSETS}
        contents["pygments.css"] = HtmlFormatter(style="default").get_style_defs(".diff")
        if not (assets / PLOTLY).exists():
            contents[PLOTLY] = get_plotlyjs()
        for name, content in contents.items():
            self._put(assets / name, content)

    def _digests(self) -> dict[str, str]:
        try:
            found = json.loads((self.folder / "pages.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _digest(self, i: int, trial: Trial) -> str:
        """Of all that the page is made of."""
        neighbours = [self.story.trials[j].href if 0 <= j < len(self.story.trials) else "" for j in (i - 1, i + 1)]
        known = [
            *(self.version, asdict(trial.row), mirror.export(self.ledger, trial.row.number)),
            *(neighbours, trial.model_dollars),
        ]
        return hashlib.sha256(json.dumps(known, default=str).encode()).hexdigest()

    def _put(self, path: Path, text: str) -> None:
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # a person may ask while a run renews it
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)  # a browser sees the old page or the new one

    def _index(self) -> str:
        story = self.story
        best, start = view.incumbent(story.rows), next((r for r in story.rows if r.state is State.BASELINE), None)
        return self.environment.get_template("index.html.j2").render(
            story=story,
            best=best,
            start=start,
            sentence=view.sentence(story.rows),
            progress=charts.progress(story),
            time=charts.bars(story.hours, "hours", "{:.2f} h"),
            states=sorted({str(trial.row.state) for trial in story.trials}),
            kinds=sorted({trial.row.kind for trial in story.trials}),
            lessons=_lessons(story.folder),
            promotions=self.ledger.promotions(),
            assets="assets",
        )

    def _trial(self, i: int, trial: Trial) -> str:
        row, tier = trial.row, self.story.profile.tier
        parent = self.ledger.with_commit(row.parent)
        taken = self.ledger.taken(row.number)
        search, fresh = (pairs(self.ledger, row, tier.name, fresh) for fresh in (False, True))
        first = next((one for one in taken if one.tier == tier.name), None)
        folder = measured_in(self.story.folder, row.number, first) if first else None
        curves = list(self._curves(row, parent, first)) if first else []
        seed = first.measured.seed if first else 0
        return self.environment.get_template("trial.html.j2").render(
            story=self.story,
            trial=trial,
            row=row,
            parent=parent if parent and parent.number != row.number else None,
            before=self.story.trials[i - 1] if i else None,
            after=self.story.trials[i + 1] if i + 1 < len(self.story.trials) else None,
            taken=taken,
            budgets=budgets.told(row),
            seeds=charts.seeds(search, fresh, trial.noise_bpb) if search else None,
            first=first.measured if first else None,
            loss=charts.loss(curves) if curves else None,
            streams=streams.read(folder / "weights.bin") if folder else [],
            diff=self._diff(row),
            stages=self.ledger.stages(row.number),
            rescores=self.ledger.rescores(row.number),
            ablations=self.ledger.ablations(row.number),
            log=_tail(folder / "train.log") if folder else [],
            again=again(self.story.run, row.number, seed) if first else "",
            assets="../assets",
        )

    def _curves(self, row: Row, parent: Row | None, first: Taken) -> Iterator[tuple[str, Curve, bool]]:
        seed = first.measured.seed
        if parent and parent.number != row.number:
            for one in self.ledger.taken(parent.number):
                if one.measured.seed == seed and (
                    points := read_curve(measured_in(self.story.folder, parent.number, one) / "metrics.jsonl")
                ):
                    yield f"incumbent {parent.number:04d}", points, False
                    break
        if points := read_curve(measured_in(self.story.folder, row.number, first) / "metrics.jsonl"):
            yield f"trial {row.number:04d}", points, True

    def _diff(self, row: Row) -> Markup | str:
        if not row.commit_id or row.commit_id == row.parent:
            return ""
        text = self.workspace.diff(row.parent, row.commit_id)
        shown = "\n".join(one_line(line, 500) for line in text.splitlines())
        return Markup(highlight(shown, DiffLexer(), HtmlFormatter(cssclass="diff")))


def chart(figure: go.Figure) -> Markup:
    """A figure's place in a page; report.js draws it."""
    return Markup('<div class="chart" style="height:{}px" data-figure="{}"></div>').format(
        figure.layout.height or 320, figure.to_json()
    )


def _tail(path: Path) -> list[str]:
    """The last lines of a program's log, made safe to show."""
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
