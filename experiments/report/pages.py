"""Writes the report's folder: index.html, a page per trial, and the scripts and styles that they load."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from pygments.formatters import HtmlFormatter

from common.errors import CaddieError
from common.text import one_line
from experiments.analysis.overview import overview, overviews
from experiments.ledger import mirror, usage
from experiments.ledger.store import Ledger
from experiments.repo.workspace import Workspace
from experiments.report import index_page, trial_page
from experiments.report.style import Figure, hover_texts
from experiments.report.summary import RunSummary, Trial, summarize
from experiments.report.trial_charts import curves_script
from experiments.run.layout import open_ledger
from experiments.run.machine import profile_of

HERE = Path(__file__).parent
LINE = "run.json"  # of a published run, for the index of its folder
GENERATOR = 'name="generator" content="caddie"'
PLOTLY = "plotly.min.js"
DIGESTS = "pages.json"  # of the trials' pages, to write only those that have changed
ASSETS = ("report.css", "report.js")


def write(root: Path, run: str) -> Path:
    """Write the pages of trials/<run>/report that have changed; return the path of index.html."""
    root = root.resolve()
    with contextlib.closing(open_ledger(root, run)) as ledger:
        folder = root / "trials" / run
        (folder / "report" / "trials").mkdir(parents=True, exist_ok=True)
        with _one_writer(folder / "report"):
            summary = summarize(run, folder, ledger, profile_of(ledger))
            return _Report(root, summary, ledger, Workspace(root, run, "scratch.report")).write()


@contextlib.contextmanager
def _one_writer(folder: Path) -> Iterator[None]:
    """Wait for other processes that write this report: the pages of an older state must not end up on top."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class _Report:
    """One update of the folder: a trial's page is written again only if something on it changed."""

    def __init__(self, root: Path, summary: RunSummary, ledger: Ledger, workspace: Workspace) -> None:
        self.root, self.summary, self.ledger, self.workspace = root, summary, ledger, workspace
        self.folder, self.environment = summary.folder / "report", _environment()
        sources = [path for path in sorted(HERE.rglob("*")) if path.suffix in (".py", ".j2", ".css", ".js")]
        self.version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()

    def write(self) -> Path:
        self._write_assets()
        before, trials = self._stored_digests(), self.summary.trials
        now = {str(trial.row.number): self._digest(i, trial) for i, trial in enumerate(trials)}
        changed = [
            i
            for i, trial in enumerate(trials)
            if before.get(str(trial.row.number)) != now[str(trial.row.number)]
            or not (self.folder / trial.href).exists()
        ]
        self._write_trials(changed)
        replace(self.folder / "index.html", self._render_index())
        replace(self.folder / DIGESTS, json.dumps(now))
        write_runs(self.root)
        return self.folder / "index.html"

    def _write_assets(self) -> None:
        assets = self.folder / "assets"
        assets.mkdir(exist_ok=True)
        contents = {name: (HERE / "assets" / name).read_text("utf-8") for name in ASSETS}
        light, dark = (HtmlFormatter(style=name).get_style_defs(".diff") for name in ("default", "github-dark"))
        contents["pygments.css"] = f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
        plotly = get_plotlyjs()
        if not (assets / PLOTLY).exists() or (assets / PLOTLY).stat().st_size != len(plotly.encode()):
            contents[PLOTLY] = plotly
        for name, content in contents.items():
            replace(assets / name, content)

    def _stored_digests(self) -> dict[str, str]:
        try:
            digests = json.loads((self.folder / DIGESTS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return digests if isinstance(digests, dict) else {}

    def _digest(self, i: int, trial: Trial) -> str:
        """Return a digest of everything that the page shows."""
        neighbors = [self.summary.trials[j].href if 0 <= j < len(self.summary.trials) else "" for j in (i - 1, i + 1)]
        content = [
            *(self.version, asdict(trial.row), mirror.export(self.ledger, trial.row.number)),
            *(neighbors, trial.model_dollars),
            *(asdict(child) for child in trial_page.on_weights_of(self.ledger, trial.row)),
        ]
        return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()

    def _write_trials(self, changed: list[int]) -> None:
        """Write the page and the loss curves of trials by their position; git gives all their changes at once."""
        template = self.environment.get_template("trial.html.j2")
        rows = [self.summary.trials[i].row for i in changed]
        commits = [(row.parent, row.commit_id) for row in rows if row.commit_id and row.commit_id != row.parent]
        diffs = self.workspace.diffs(commits)
        for i, row in zip(changed, rows, strict=True):
            page = self.folder / self.summary.trials[i].href
            curves = list(trial_page.curves(self.summary, self.ledger, row))
            diff = diffs.get(row.commit_id or "", "")
            values = trial_page.values(self.summary, self.ledger, i, diff, has_curve=bool(curves))
            replace(page, template.render(summary=self.summary, **values))
            replace(page.with_suffix(".curves.js"), curves_script(row.number, curves))

    def _render_index(self) -> str:
        values = index_page.values(self.summary, self.ledger)
        values["hover"] = hover_texts(self.summary.trials)
        template = self.environment.get_template("index.html.j2")
        return template.render(summary=self.summary, as_of=_as_of(), **values)


def publish(root: Path, run: str, folder: Path) -> Path:
    """Copy a run's pages to a folder for a web server, next to those of other runs; return the folder's index.html.

    Raises:
        CaddieError: The folder has an index.html that is not caddie's.
    """
    index = folder / "index.html"
    if index.exists() and GENERATOR not in index.read_text("utf-8", "replace"):
        raise CaddieError(f"{index} is another site's page; publish to an empty folder")
    report = write(root, run).parent
    ignored = shutil.ignore_patterns(DIGESTS, "*.partial")
    shutil.copytree(report, folder / run / "report", dirs_exist_ok=True, ignore=ignored)
    line = overview(root.resolve() / "trials" / run / "ledger.sqlite")
    replace(folder / run / LINE, json.dumps(asdict(line) if line else {"name": run}))
    published = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob(f"*/{LINE}"))]
    return _write_index(folder, published)


def write_runs(root: Path) -> Path:
    """Write trials/index.html, the index of all runs; return its path."""
    return _write_index(root / "trials", [asdict(each) for each in overviews(root)])


def _write_index(folder: Path, runs: list[dict[str, Any]]) -> Path:
    for each in runs:
        page = f"{each['name']}/report/index.html"
        each["page"] = page if (folder / page).exists() else ""
    assets = next((f"{each['name']}/report/assets" for each in runs if each["page"]), "")
    text = _environment().get_template("runs.html.j2").render(runs=runs, as_of=_as_of(), assets=assets)
    replace(folder / "index.html", text)
    return folder / "index.html"


def replace(path: Path, text: str) -> None:
    """Write a file of the report; a browser sees the old one or the new one."""
    # The name holds the process id: `report` may be called while a run updates the same page.
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _environment() -> Environment:
    loader = FileSystemLoader(HERE / "templates")
    environment = Environment(
        loader=loader, undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["line"] = lambda text, limit=200: one_line(str(text), limit)
    environment.filters["verdict_class"] = lambda state: str(state).replace("(", "-").replace(")", "")
    environment.filters |= {"chart": chart, "data": data, "duration": duration, "exceeded_limit": usage.exceeded_limit}
    return environment


def _as_of() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M}"


def chart(figure: Figure) -> Markup:
    """Return the element of a page that report.js draws the figure into."""
    height = figure["layout"].get("height", 320)
    return Markup('<div class="chart" style="min-height:{}px" data-figure=\'{}\'></div>').format(height, data(figure))


def data(value: object) -> Markup:
    """Return a value as JSON for an attribute in single quotes: its quotes, < and & are escaped for HTML."""
    return htmlsafe_json_dumps(value, separators=(",", ":"))


def duration(hours: float) -> str:
    """Return hours with their unit, or minutes where hours would round to little."""
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"
