"""A record folder in which everything holds, and ways to change one thing about it."""

import json
from pathlib import Path

from scipy.stats import ttest_ind

from preflight.records import check

BEATEN = [value - 0.003 for value in (1.11, 1.111, 1.112)]  # the reference less the margin
SEEDS = {42: 1.1005, 7: 1.1010, 99: 1.1015}
BPB_PER_NAT = 1 / (0.6931471805599453 * 2.4359)
CODE_BYTES = 39  # of the record's script
SEED_TABLE = (
    "# fine\n\n| seed | steps | pre-quant bpb | **val_bpb** |\n|---|--:|---|---|\n| **42** | 9010 | 1.1100 | {} |\n"
    "| 7 | 9010 | 1.12 | 1.101 |\n| 1000 | 9010 | 1.12 | 1.3 |\n| Mean | | | **{}** |\n"
)


def write_log(folder: Path, named: int, val_bpb: float, code_bytes: int, **changes: object) -> None:
    """Write the log of a seed; `changes` override seed, model, stop, eval and tokens."""
    run = {"seed": named, "model": 15_000_000, "stop": 600_050, "eval": 100_000, "tokens": 62_021_632}
    run |= changes
    (folder / f"train_seed{named}.log").write_text(
        f"seed:{run['seed']}\n"
        f"val_loader:shards pattern=x/fineweb_val_*.bin tokens:{run['tokens']}\n"
        f"step:9000/20000 train_loss:1.9000 train_time:599000ms step_avg:66.00ms\n"
        f"stopping_early: wallclock_cap train_time:{run['stop']}ms step:9010/20000\n"
        f"Serialized model int6+zstd: {run['model']} bytes\n"
        f"Code size: {code_bytes} bytes\n"
        f"Total submission size int6+zstd: {run['model'] + code_bytes} bytes\n"
        f"final_sliding_window val_loss:{val_bpb / BPB_PER_NAT:.8f} val_bpb:{val_bpb:.8f} eval_time:{run['eval']}ms\n"
    )


def make_record(tmp_path: Path) -> Path:
    """Make a record that passes every check."""
    folder = tmp_path / "track_10min_16mb" / "2026-01-01_Fine"
    folder.mkdir(parents=True)
    (folder / "train_gpt.py").write_text("import helper_elsewhere\nprint('train')\n")
    code_bytes = (folder / "train_gpt.py").stat().st_size
    for seed, val_bpb in SEEDS.items():
        write_log(folder, seed, val_bpb, code_bytes)
    claim = {
        "author": "a",
        "github_id": "a",
        "name": "fine",
        "date": "2026-01-01",
        "track": "10min_16mb",
        "val_bpb": 1.101,
        "bytes_total": 15_000_000 + code_bytes,
        "seed_results": {str(seed): {"val_bpb": value} for seed, value in SEEDS.items()},
        "statistics": {
            "reference": "before",
            "reference_val_bpb": [1.11, 1.111, 1.112],
            "margin_bpb": 0.003,
            "p_value": float(ttest_ind(list(SEEDS.values()), BEATEN, equal_var=False, alternative="less").pvalue),
        },
    }
    (folder / "submission.json").write_text(json.dumps(claim))
    (folder / "README.md").write_text("# fine\n\nmean val_bpb 1.1010\n")
    return folder


def edit_submission(folder: Path, **changes: object) -> None:
    """Replace fields of submission.json."""
    claim = json.loads((folder / "submission.json").read_text()) | changes
    (folder / "submission.json").write_text(json.dumps(claim))


def rules(folder: Path) -> set[str]:
    """Return the rules that the folder breaks."""
    return {finding.rule for finding in check.check(folder).findings}


def write_readme(folder: Path, text: str) -> None:
    """Replace README.md."""
    (folder / "README.md").write_text(text)


def append_line(folder: Path, seed: int, line: str) -> None:
    """Append a line to the log of a seed."""
    with (folder / f"train_seed{seed}.log").open("a") as log:
        log.write(f"{line}\n")
