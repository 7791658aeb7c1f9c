"""Tests of the README check: rounding and other runs' numbers are allowed, and its size does not matter."""

import pytest
from helpers.record_folder import SEED_TABLE, write_readme

from preflight.records import check


@pytest.mark.parametrize(
    "text",
    [
        "# fine\n\nmean val_bpb: 1.101\n",
        "# fine: 1.10 BPB\n",
        "# Record (val_bpb 1.1010)\n\n| | baseline val_bpb |\n|--|--|\n| x | 1.2244 |\n",
        "# fine\n\n**val\\_bpb = 1.1010** (baseline: 1.2244)\n",
        "We had val_bpb 1.2 before.\n\n## Results\n\n- Pre-quant: val_bpb:1.0900\n- Exact: val_bpb:1.10100000\n",
        SEED_TABLE.format("1.1005", "1.1010"),
        SEED_TABLE.format("1.10", "1.101"),
        "# From val_bpb: 1.2244 to val_bpb: 1.1010\n",
        "# 1.2244 BPB baseline improved to 1.1010 BPB\n",
        "# fine\n\n```sh\n# baseline gives val_bpb: 1.2244\n```\n\nmean val_bpb: 1.101\n",
        "1.1010\n\n| # | what | bpb |\n|--|--|--|\n| 42 | a | 1.2 |\n\n| Layers | val_bpb |\n|--|--|\n| 7 | 1.3 |\n",
        "# fine\n\nScore: mean val_bpb (sliding) = 1.101\n\n| seed | steps |\n|--|--|\n| 42 | 1.5 |\n",
    ],
)
def test_a_readme_may_round_and_mention_other_runs(folder, text):
    write_readme(folder, text)
    assert not check.check(folder).findings


@pytest.mark.parametrize("unit", ["val_bpb (", "1.1", "[a](", "|", "| - ", "# ", "final_x val_bpb", "mean "])
def test_a_readme_of_any_size_is_read(folder, unit):
    """Overlong lines are skipped: no pattern is matched against more than MAX_LINE characters."""
    write_readme(folder, "mean val_bpb 1.1010\n" + unit * 300_000 + "\n" + (unit * 20 + "\n") * 5_000)
    assert check.check(folder)
