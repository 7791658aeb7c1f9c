"""Quantization, packing and evaluation compared on the incumbent's saved checkpoints, which needs no training.

A change of nothing but what happens after training is measured on the weights that the incumbent left. Both sides have
the same weights, so the seeds' noise is gone and what remains is small. What looks better there is run once in full, on
the first of these seeds. If that gives the same artifact, the change did not touch training, and its fresh seeds are
judged by the small noise too; else it is compared like any other trial.
"""

import json
from dataclasses import replace
from pathlib import Path

from experiments.analysis.pairing import WEIGHTS, reference_seeds
from experiments.ledger.rows import Row
from experiments.proposal.knob_edits import KNOB_FILES
from experiments.run.run import Run
from experiments.runner.job import CHECKPOINT
from experiments.runner.rescore import AFTER_TRAINING, IN_TRAINING, QUANTIZATION
from experiments.tiers import Tier
from preflight.checks import Report
from preflight.source.tree import Tree

FOLDERS = ("base/quant/", "base/compress/", "base/evaluate/")
FILES = {"base/export.py", *KNOB_FILES}
TRAINING_FILES = {"base/quant/fake_quant.py", "base/quant/calibration.py"}


def leaves_training_alone(tree: Tree, before: Tree, report: Report, incumbent: Row) -> bool:
    """Return True if a change is only of what happens after training, as far as files and knobs tell.

    Args:
        tree: The candidate's tree.
        before: The incumbent's tree.
        report: The candidate's preflight, with its configuration.
        incumbent: The incumbent, whose configuration the ledger holds.
    """
    changed = {path for path in tree.keys() | before.keys() if tree.get(path) != before.get(path)}
    values, earlier, sections = json.loads(report.knobs), json.loads(incumbent.knobs or "{}"), report.sections
    names = {name for name in values.keys() | earlier.keys() if values.get(name) != earlier.get(name)}
    quantization = {name for name, section in sections.items() if section == QUANTIZATION} - IN_TRAINING
    finished = {name for name, section in sections.items() if section in AFTER_TRAINING} - IN_TRAINING
    # With training on the grid, the grid is part of training
    trains_on_grid = any(each.get("qat", "none") != "none" or each.get("crown_q") for each in (values, earlier))
    folders = FOLDERS[1:] if trains_on_grid else FOLDERS
    if any(path in TRAINING_FILES or not (path.startswith(folders) or path in FILES) for path in changed):
        return False
    return names <= (finished if trains_on_grid else quantization | finished)


def checkpoints(run: Run, incumbent: Row, tier: Tier) -> dict[int, Path]:
    """Return the saved checkpoints of the incumbent by seed, of the seeds that candidates are compared on."""
    existing = checkpoints_of(run, incumbent.number, tier)
    return {seed: existing[seed] for seed in reference_seeds(run.ledger, incumbent, tier) if seed in existing}


def checkpoints_of(run: Run, number: int, tier: Tier) -> dict[int, Path]:
    """Return every saved checkpoint of a trial's full measurements by seed."""
    rows = [row for row in run.ledger.measurement_rows(number) if row.tier == tier.name]
    paths = {row.measured.seed: run.measurement_folder(number, row) / CHECKPOINT for row in rows}
    return {seed: path for seed, path in paths.items() if path.is_file()}


def weights_tier(tier: Tier) -> Tier:
    """Return the tier under which these measurements are stored: they are evidence only for this comparison."""
    return replace(tier, name=WEIGHTS)
