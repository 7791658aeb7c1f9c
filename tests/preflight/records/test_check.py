"""Tests of the record checker on folders in which one thing at a time is wrong."""

import json
import shutil
import subprocess
import sys

import pytest
from helpers.record_folder import CODE_BYTES, SEED_TABLE, append_line, edit_submission, rules, write_log, write_readme
from helpers.tiny_profile import ROOT

from preflight.records import check


def test_a_good_record_holds(folder):
    record = check.check(folder)
    assert not record.findings
    assert not record.notes
    assert len(record.claimed) == 3


WRONG = {
    "no readme": (lambda folder: (folder / "README.md").unlink(), {"files"}),
    "no logs": (lambda folder: [path.unlink() for path in folder.glob("*.log")], {"files", "seeds", "p_value"}),
    "a missing log": (lambda folder: (folder / "train_seed7.log").unlink(), {"seeds", "p_value"}),
    "no number": (lambda folder: (folder / "README.md").write_text("mean 1.1005"), {"readme"}),
    "best seed as mean": (lambda folder: edit_submission(folder, val_bpb=1.1005), {"numbers", "readme"}),
    "another score": (lambda folder: write_log(folder, 42, 1.1006, CODE_BYTES), {"numbers", "p_value"}),
    "another seed": (lambda folder: write_log(folder, 42, 1.1005, CODE_BYTES, seed=1337), {"seeds"}),
    "other bytes": (lambda folder: edit_submission(folder, bytes_total=14_000_000), {"bytes"}),
    "too large": (lambda folder: write_log(folder, 7, 1.1010, CODE_BYTES, model=16_000_001), {"oversize"}),
    "too slow": (lambda folder: write_log(folder, 7, 1.1010, CODE_BYTES, stop=602_000), {"time"}),
    "slow to score": (lambda folder: write_log(folder, 7, 1.1010, CODE_BYTES, eval=700_000), {"time"}),
    "other tokens": (
        lambda folder: write_log(folder, 7, 1.1010, CODE_BYTES, tokens=50_000_000),
        {"text_bytes", "seeds"},
    ),
    "other code": (lambda folder: write_log(folder, 7, 1.1010, CODE_BYTES + 5), {"script", "seeds"}),
    "not Python": (lambda folder: (folder / "train_gpt.py").write_text("def (" + " " * (CODE_BYTES - 5)), {"static"}),
    "a wrong type": (lambda folder: edit_submission(folder, bytes_total="many"), {"schema"}),
    "not JSON": (lambda folder: (folder / "submission.json").write_text("{"), {"schema"}),
    "a date": (lambda folder: edit_submission(folder, date="yesterday"), {"schema"}),
    "an impossible day": (lambda folder: edit_submission(folder, date="2026-02-30"), {"schema"}),
    "a day followed by text": (lambda folder: edit_submission(folder, date="2026-01-01 or so"), {"schema"}),
    "a score in quotes": (lambda folder: edit_submission(folder, val_bpb="1.101"), {"schema"}),
    "bytes in quotes": (lambda folder: edit_submission(folder, bytes_total=str(15_000_000 + CODE_BYTES)), {"schema"}),
    "a wrong score in quotes": (
        lambda folder: edit_submission(folder, val_bpb="1.099"),
        {"schema", "numbers", "readme"},
    ),
    "a score of nan": (
        lambda folder: append_line(folder, 42, "final_ttt val_loss:nan val_bpb:nan eval_time:1ms"),
        {"numbers"},
    ),
    "an infinite score": (lambda folder: append_line(folder, 7, "final_int6 val_loss: inf val_bpb: inf"), {"numbers"}),
    "another headline": (
        lambda folder: write_readme(folder, "# A record: val_bpb 1.0905 (3 seeds)\n\n1.1010 before\n"),
        {"readme"},
    ),
    "another score at the beginning": (
        lambda folder: write_readme(folder, "# fine\n\n**val_bpb: 1.09** | 15 MB\n\n1.101\n"),
        {"readme"},
    ),
    "a seed's other score": (lambda folder: write_readme(folder, SEED_TABLE.format("1.0995", "1.1010")), {"readme"}),
    "another mean": (lambda folder: write_readme(folder, SEED_TABLE.format("1.1005", "1.0990")), {"readme"}),
    "a bold headline": (
        lambda folder: write_readme(folder, "# fine\n\n**1.0000 BPB** (3 seeds)\n\n1.101\n"),
        {"readme"},
    ),
    "a heading with a score": (lambda folder: write_readme(folder, "## Score: 1.0000\n\n1.101\n"), {"readme"}),
    "words before the number": (
        lambda folder: write_readme(folder, "Mean val_bpb over 3 seeds: 1.0000\n\n1.101\n"),
        {"readme"},
    ),
    "a table without outer pipes": (
        lambda folder: write_readme(folder, "1.101\n\nseed | val_bpb\n--- | ---\n42 | 1.0000\n"),
        {"readme"},
    ),
    "linked seeds": (
        lambda folder: write_readme(folder, "1.101\n\n| seed | bpb |\n|--|--|\n| [42](train_seed42.log) | 1.0000 |\n"),
        {"readme"},
    ),
    "seeds in the second column": (
        lambda folder: write_readme(folder, "1.101\n\n| Run | Seed | val_bpb |\n|--|--|--|\n| a | 42 | 1.0000 |\n"),
        {"readme"},
    ),
    "seeds in columns": (
        lambda folder: write_readme(folder, "1.1010\n\n| | 42 | seed 7 |\n|--|--|--|\n| val_bpb | 1.1005 | 1.0010 |\n"),
        {"readme"},
    ),
    "a p-value": (
        lambda folder: edit_submission(
            folder,
            statistics={
                "reference": "b",
                "reference_val_bpb": [1.11, 1.111, 1.112],
                "margin_bpb": 0.003,
                "p_value": 1e-5,
            },
        ),
        {"p_value"},
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_one_wrong_thing_is_one_complaint(folder, what):
    spoil, expected = WRONG[what]
    assert (folder / "train_gpt.py").stat().st_size == CODE_BYTES
    spoil(folder)
    assert rules(folder) == expected


ODD = {
    "a superscript": {"seed_results": {"²": {"val_bpb": 1.1}}},
    "one seed three times": {"seed_results": {seed: {"val_bpb": 1.1005} for seed in ("42", "042", "0042")}},
    "a huge integer": {"seed_results": {"42": {"val_bpb": 1.1005, "artifact_bytes": 10**400}}},
    "no number": {"statistics": {"reference": "x", "reference_val_bpb": [1.1, 1e999], "margin_bpb": 0, "p_value": 1}},
    "no clock": {"track": "non_record_16mb"},
}


@pytest.mark.parametrize("what", ODD)
def test_an_odd_submission_is_a_complaint_and_not_a_crash(folder, what):
    edit_submission(folder, **ODD[what])
    if what == "no clock":
        write_log(folder, 7, 1.1010, CODE_BYTES, stop=900_000)
        assert rules(folder) == {"schema", "time"}
    else:
        assert rules(folder) & {"schema", "seeds"}


def test_a_submission_that_is_a_folder_and_a_deeply_nested_script(folder):
    (folder / "submission.json").unlink()
    (folder / "submission.json").mkdir()
    (folder / "train_gpt.py").write_text("x = " + "(" * 5000 + ")" * 5000)
    assert {"files", "schema", "static"} & rules(folder)


def test_other_runs_of_the_same_code_are_named(folder):
    write_log(folder, 1000, 1.3, CODE_BYTES)
    assert "train_seed1000.log 1.3" in " ".join(check.check(folder).notes)


def test_a_failed_run_that_is_not_claimed_is_a_note(folder):
    write_log(folder, 1000, 1.3, CODE_BYTES)
    append_line(folder, 1000, "final_ttt val_loss:nan val_bpb:nan")
    record = check.check(folder)
    assert not record.findings
    assert "train_seed1000.log: not claimed; it ends with final_ttt val_loss:nan" in " ".join(record.notes)


def test_several_folders_are_checked_in_one_call(folder):
    other = shutil.copytree(folder, folder.with_name("other"))
    command = [sys.executable, "-m", "preflight", "record"]
    done = subprocess.run([*command, folder, other], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("holds") == 2
    (other / "README.md").unlink()
    done = subprocess.run([*command, folder, other, "--json"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(result["folder"], result["passed"]) for result in results] == [(folder.name, True), ("other", False)]
    done = subprocess.run([*command, folder, folder / "none"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
