"""Measure the report of a long run among ten: seconds to write it, its bytes, and how fast its table filters.

    python -m dev.benchmarks.long_run.report [--trials 1000] [--runs 10]

Prints the table of report.md. The filters are timed in Chromium, from the event to the next drawn frame.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

from dev.benchmarks.long_run.ledger import write_history, write_ledger
from dev.benchmarks.long_run.timing import machine, seconds_of
from dev.chromium import chromium

FILTERS = {
    "search for a title": ("search", "input", "idea 77"),
    "search for a letter": ("search", "input", "e"),
    "one verdict": ("verdict", "change", "kept"),
    "one class": ("class", "change", "optimizer"),
}
OPTUNA = """
import optuna, random
from optuna import visualization
from optuna.distributions import FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator
optuna.logging.set_verbosity(optuna.logging.WARNING)
study, kinds = optuna.create_study(), {{f"knob{{i}}": FloatDistribution(0, 1) for i in range(8)}}
for _ in range({trials}):
    params = {{name: random.random() for name in kinds}}
    study.add_trial(optuna.trial.create_trial(params=params, distributions=kinds, value=random.random()))
evaluator = PedAnovaImportanceEvaluator()
visualization.plot_param_importances(study, evaluator=evaluator).write_html("{folder}/importances.html")
visualization.plot_parallel_coordinate(study).write_html("{folder}/parallel.html")
visualization.plot_slice(study).write_html("{folder}/slice.html")
"""
TIME_ONE = """
const [id, event, value, done] = arguments;
const field = document.getElementById(id);
field.value = "";
field.dispatchEvent(new Event(event));
document.body.getBoundingClientRect();
const start = performance.now();
field.value = value;
field.dispatchEvent(new Event(event));
document.body.getBoundingClientRect();
const handled = performance.now() - start;
requestAnimationFrame(() => setTimeout(() => {
  const drawn = performance.now() - start;
  field.value = "";
  field.dispatchEvent(new Event(event));
  done([handled, drawn]);
}));
"""


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        commits = write_history(root, options.trials)
        names = [f"night{number}" for number in range(options.runs)]
        for name in names:
            write_ledger(root / "trials" / name / "ledger.sqlite", options.trials, commits, curves=True)
        command = [sys.executable, "-m", "experiments", "report", "--root", folder, "--run", names[0]]
        report = root / "trials" / names[0] / "report"
        rows = {}
        for label in ("all pages", "again, nothing changed"):
            rows[f"`report`, {label}"] = f"{seconds_of(command):.1f} s"
        reference = seconds_of([sys.executable, "-c", OPTUNA.format(trials=options.trials, folder=folder)])
        rows["beside it: three of Optuna's figures of as many trials, as HTML"] = f"{reference:.1f} s"
        rows["bytes of the folder"] = f"{sum(path.stat().st_size for path in report.rglob('*') if path.is_file()):,}"
        rows["bytes of index.html"] = f"{(report / 'index.html').stat().st_size:,}"
        rows |= filters(report / "index.html")
    print(
        f"`python -m dev.benchmarks.long_run.report`, {machine()}; {options.runs} runs of {options.trials:,} trials.\n"
    )
    print("| what | measured |\n|---|---|")
    for label, value in rows.items():
        print(f"| {label} | {value} |")


def filters(page: Path) -> dict[str, str]:
    """Return the milliseconds of each filter: of its handler with the layout, and until the frame is drawn."""
    browser = chromium()
    try:
        browser.get(page.as_uri())
        found = {}
        for label, (field, event, value) in FILTERS.items():
            times = [browser.execute_async_script(TIME_ONE, field, event, value) for _ in range(9)]
            handled, drawn = (median(each) for each in zip(*times, strict=True))
            found[f"filter: {label}"] = f"{handled:.0f} ms, drawn after {drawn:.0f} ms"
        return found
    finally:
        browser.quit()


if __name__ == "__main__":
    main()
