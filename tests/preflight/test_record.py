"""The record checker: official log lines, packed scripts, and folders in which one thing at a time is wrong."""

import base64
import bz2
import codecs
import csv
import gzip
import json
import lzma
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import zstandard
from scipy.stats import ttest_ind
from support import ROOT

from preflight import bundle, logs, record, shim
from preflight.tree import PLAIN, Source

TABLE = ROOT.parent / "shared" / "reference" / "logs.tsv"
NUMBERS = {
    "log_val_bpb": lambda log: log.final.val_bpb,
    "log_val_loss": lambda log: log.final.val_nats,
    "logged_total_bytes": lambda log: log.total_bytes,
    "code_bytes_logged": lambda log: log.code_bytes,
    "code_bytes_packed_logged": lambda log: log.packed_code_bytes,
    "model_blob_bytes": lambda log: log.model_bytes,
    "train_stop_ms": lambda log: log.stop_milliseconds,
    "stop_step": lambda log: log.stop_step,
    "gptq_or_calib_s": lambda log: log.calibration_seconds,
    "total_eval_s": lambda log: log.total_evaluation_seconds,
}
LINES = ("train", "val", "stop", "gptq", "blob", "code", "size", "total_eval", "final", "peak")


@pytest.mark.skipif(not TABLE.exists(), reason="the table of official log lines is not beside this checkout")
def test_every_official_line_is_read():
    rows = list(csv.DictReader(TABLE.read_text().splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(rows) > 80
    for row in rows:
        said = [line for name in LINES for line in row[f"line_{name}"].split(" ;; ") if line]
        log = logs.parse("\n".join(["import lzma", "    final_int8 val_loss:9.0 val_bpb:9.0", *said]))
        where = f"{row['folder']} {row['log']}"
        assert (log.final.tag if log.final else "") == row["log_final_tag"], where
        for column, value in NUMBERS.items():
            if row[column]:
                assert value(log) == pytest.approx(float(row[column])), (where, column)
        if row["step_avg_ms"]:
            assert round(log.step_milliseconds, 2) == pytest.approx(float(row["step_avg_ms"])), where
        if row["final_eval_s"] and "eval_time" in row["line_final"]:
            assert round(log.final_seconds, 1) == float(row["final_eval_s"]), where
        for column in ("gptq_or_calib_s", "total_eval_s", "code_bytes_packed_logged"):
            assert row[column] or NUMBERS[column](log) is None, (where, column)


def test_what_is_no_score_is_not_read_as_one():
    log = logs.parse(
        "1776000000.5 seed: 7\n"
        "diagnostic quantized val_loss:1.0 val_bpb:0.5 eval_time:1ms\n"
        "DIAGNOSTIC post_ema val_loss:1.0 val_bpb:0.5\n"
        '    log0(f"final_int8 val_loss:1.0 val_bpb:0.5")\n'
        "1776000001.5 final_int8_zlib_roundtrip val_loss:2.0719 val_bpb:1.2271 eval_time:1535ms\n"
        "1776000001.6 final_int8_zlib_roundtrip_exact val_loss:2.07193000 val_bpb:1.22713000\n"
        "Total submission size: 99 bytes\n"
    )
    assert [one.tag for one in log.finals] == ["final_int8_zlib_roundtrip", "final_int8_zlib_roundtrip_exact"]
    assert (log.seed, log.final_seconds, log.total_bytes) == (7, 1.535, 99)


SOURCE = "import ngram_tilt\n" + "".join(f"x{i} = {i**9 % 9973}\n" for i in range(99))


@pytest.mark.parametrize("encode", [base64.b85encode, base64.b64encode, base64.a85encode, bytes])
@pytest.mark.parametrize("compress", [lzma.compress, zlib.compress, bz2.compress])
def test_a_packed_script_is_unpacked_without_running_it(encode, compress):
    packed = f"import os\nexec(x({encode(compress(SOURCE.encode()))!r}))\nos.abort()\n"
    twice = f"exec(y({encode(compress(packed.encode()))!r}))\n"
    assert SOURCE in shim.sources(packed)
    assert SOURCE in shim.sources(twice)


def test_our_own_bundle_and_raw_lzma_are_unpacked():
    tree = {"base/__main__.py": Source(PLAIN, SOURCE.encode())}
    assert SOURCE in shim.sources(bundle.build(tree).decode())
    filters = [{"id": lzma.FILTER_LZMA2}]
    raw = base64.b85encode(lzma.compress(SOURCE.encode(), lzma.FORMAT_RAW, filters=filters))
    assert SOURCE in shim.sources(f"exec(x({raw!r}))")


def test_a_bomb_ends_at_its_bound():
    bomb = base64.b85encode(lzma.compress(b"#" * (shim.MOST_BYTES * 4)))
    assert max(map(len, shim.sources(f"exec(x({bomb!r}))"))) <= shim.MOST_BYTES


BEATEN = [value - 0.003 for value in (1.11, 1.111, 1.112)]
SEEDS = {42: 1.1005, 7: 1.1010, 99: 1.1015}
BPB_PER_NAT = 1 / (0.6931471805599453 * 2.4359)


def write_log(folder: Path, named: int, val_bpb: float, code_bytes: int, **other: object) -> None:
    told = {"seed": named, "model": 15_000_000, "stop": 600_050, "eval": 100_000, "tokens": 62_021_632} | other
    (folder / f"train_seed{named}.log").write_text(
        f"seed:{told['seed']}\n"
        f"val_loader:shards pattern=x/fineweb_val_*.bin tokens:{told['tokens']}\n"
        f"step:9000/20000 train_loss:1.9000 train_time:599000ms step_avg:66.00ms\n"
        f"stopping_early: wallclock_cap train_time:{told['stop']}ms step:9010/20000\n"
        f"Serialized model int6+zstd: {told['model']} bytes\n"
        f"Code size: {code_bytes} bytes\n"
        f"Total submission size int6+zstd: {told['model'] + code_bytes} bytes\n"
        f"final_sliding_window val_loss:{val_bpb / BPB_PER_NAT:.8f} val_bpb:{val_bpb:.8f} eval_time:{told['eval']}ms\n"
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    """A record of which nothing is wrong."""
    made = tmp_path / "track_10min_16mb" / "2026-01-01_Fine"
    made.mkdir(parents=True)
    (made / "train_gpt.py").write_text("import helper_of_nobody\nprint('train')\n")
    code_bytes = (made / "train_gpt.py").stat().st_size
    for seed, val_bpb in SEEDS.items():
        write_log(made, seed, val_bpb, code_bytes)
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
    (made / "submission.json").write_text(json.dumps(claim))
    (made / "README.md").write_text("# fine\n\nmean val_bpb 1.1010\n")
    return made


def edit(folder: Path, **changes: object) -> None:
    claim = json.loads((folder / "submission.json").read_text()) | changes
    (folder / "submission.json").write_text(json.dumps(claim))


def rules(folder: Path) -> set[str]:
    return {finding.rule for finding in record.check(folder).findings}


def test_a_good_record_holds(folder):
    found = record.check(folder)
    assert not found.findings
    assert not found.notes
    assert len(found.claimed) == 3


CODE = 39  # bytes of the fixture's script
TABLE_OF = (
    "# fine\n\n| seed | steps | pre-quant bpb | **val_bpb** |\n|---|--:|---|---|\n| **42** | 9010 | 1.1100 | {} |\n"
    "| 7 | 9010 | 1.12 | 1.101 |\n| 1000 | 9010 | 1.12 | 1.3 |\n| Mean | | | **{}** |\n"
)


def readme(folder: Path, text: str) -> None:
    (folder / "README.md").write_text(text)


def append(folder: Path, seed: int, line: str) -> None:
    with (folder / f"train_seed{seed}.log").open("a") as log:
        log.write(f"{line}\n")


WRONG = {
    "no readme": (lambda folder: (folder / "README.md").unlink(), {"files"}),
    "no logs": (lambda folder: [path.unlink() for path in folder.glob("*.log")], {"files", "seeds", "p_value"}),
    "a log less": (lambda folder: (folder / "train_seed7.log").unlink(), {"seeds", "p_value"}),
    "no number": (lambda folder: (folder / "README.md").write_text("mean 1.1005"), {"readme"}),
    "best seed as mean": (lambda folder: edit(folder, val_bpb=1.1005), {"numbers", "readme"}),
    "another score": (lambda folder: write_log(folder, 42, 1.1006, CODE), {"numbers", "p_value"}),
    "another seed": (lambda folder: write_log(folder, 42, 1.1005, CODE, seed=1337), {"seeds"}),
    "other bytes": (lambda folder: edit(folder, bytes_total=14_000_000), {"bytes"}),
    "too large": (lambda folder: write_log(folder, 7, 1.1010, CODE, model=16_000_001), {"oversize"}),
    "too slow": (lambda folder: write_log(folder, 7, 1.1010, CODE, stop=602_000), {"time"}),
    "slow to score": (lambda folder: write_log(folder, 7, 1.1010, CODE, eval=700_000), {"time"}),
    "other tokens": (lambda folder: write_log(folder, 7, 1.1010, CODE, tokens=50_000_000), {"text_bytes", "seeds"}),
    "other code": (lambda folder: write_log(folder, 7, 1.1010, CODE + 5), {"script", "seeds"}),
    "no Python": (lambda folder: (folder / "train_gpt.py").write_text("def (" + " " * (CODE - 5)), {"static"}),
    "a wrong type": (lambda folder: edit(folder, bytes_total="many"), {"schema"}),
    "no JSON": (lambda folder: (folder / "submission.json").write_text("{"), {"schema"}),
    "a date": (lambda folder: edit(folder, date="yesterday"), {"schema"}),
    "a day that is none": (lambda folder: edit(folder, date="2026-02-30"), {"schema"}),
    "a day with a tail": (lambda folder: edit(folder, date="2026-01-01 or so"), {"schema"}),
    "a score in quotes": (lambda folder: edit(folder, val_bpb="1.101"), {"schema"}),
    "bytes in quotes": (lambda folder: edit(folder, bytes_total=str(15_000_000 + CODE)), {"schema"}),
    "a wrong score in quotes": (lambda folder: edit(folder, val_bpb="1.099"), {"schema", "numbers", "readme"}),
    "a score that is none": (
        lambda folder: append(folder, 42, "final_ttt val_loss:nan val_bpb:nan eval_time:1ms"),
        {"numbers"},
    ),
    "an infinite one": (lambda folder: append(folder, 7, "final_int6 val_loss: inf val_bpb: inf"), {"numbers"}),
    "another headline": (
        lambda folder: readme(folder, "# A record: val_bpb 1.0905 (3 seeds)\n\n1.1010 before\n"),
        {"readme"},
    ),
    "another number in front": (
        lambda folder: readme(folder, "# fine\n\n**val_bpb: 1.09** | 15 MB\n\n1.101\n"),
        {"readme"},
    ),
    "a seed's other score": (lambda folder: readme(folder, TABLE_OF.format("1.0995", "1.1010")), {"readme"}),
    "another mean": (lambda folder: readme(folder, TABLE_OF.format("1.1005", "1.0990")), {"readme"}),
    "a bold headline": (lambda folder: readme(folder, "# fine\n\n**1.0000 BPB** (3 seeds)\n\n1.101\n"), {"readme"}),
    "a heading with a score": (lambda folder: readme(folder, "## Score: 1.0000\n\n1.101\n"), {"readme"}),
    "words before the number": (
        lambda folder: readme(folder, "Mean val_bpb over 3 seeds: 1.0000\n\n1.101\n"),
        {"readme"},
    ),
    "a table without sides": (
        lambda folder: readme(folder, "1.101\n\nseed | val_bpb\n--- | ---\n42 | 1.0000\n"),
        {"readme"},
    ),
    "linked seeds": (
        lambda folder: readme(folder, "1.101\n\n| seed | bpb |\n|--|--|\n| [42](train_seed42.log) | 1.0000 |\n"),
        {"readme"},
    ),
    "seeds in the second column": (
        lambda folder: readme(folder, "1.101\n\n| Run | Seed | val_bpb |\n|--|--|--|\n| a | 42 | 1.0000 |\n"),
        {"readme"},
    ),
    "seeds across": (
        lambda folder: readme(folder, "1.1010\n\n| | 42 | seed 7 |\n|--|--|--|\n| val_bpb | 1.1005 | 1.0010 |\n"),
        {"readme"},
    ),
    "a p-value": (
        lambda folder: edit(
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
    assert (folder / "train_gpt.py").stat().st_size == CODE
    spoil(folder)
    assert rules(folder) == expected


ODD = {
    "a superscript": {"seed_results": {"²": {"val_bpb": 1.1}}},
    "one seed thrice": {"seed_results": {seed: {"val_bpb": 1.1005} for seed in ("42", "042", "0042")}},
    "a giant": {"seed_results": {"42": {"val_bpb": 1.1005, "artifact_bytes": 10**400}}},
    "no number": {"statistics": {"reference": "x", "reference_val_bpb": [1.1, 1e999], "margin_bpb": 0, "p_value": 1}},
    "no clock": {"track": "non_record_16mb"},
}


@pytest.mark.parametrize("what", ODD)
def test_an_odd_submission_is_a_complaint_and_no_crash(folder, what):
    edit(folder, **ODD[what])
    if what == "no clock":
        write_log(folder, 7, 1.1010, CODE, stop=900_000)
        assert rules(folder) == {"schema", "time"}
    else:
        assert rules(folder) & {"schema", "seeds"}


def test_a_submission_that_is_a_folder_and_a_script_that_nests_for_ever(folder):
    (folder / "submission.json").unlink()
    (folder / "submission.json").mkdir()
    (folder / "train_gpt.py").write_text("x = " + "(" * 5000 + ")" * 5000)
    assert {"files", "schema", "static"} & rules(folder)


def test_a_package_beside_the_script_is_counted(folder):
    (folder / "helper_of_nobody").mkdir()
    (folder / "helper_of_nobody" / "__init__.py").write_text("pass\n" + " " * 1_000_000)
    found = record.check(folder)
    assert "helper_of_nobody/__init__.py 1,000,005" in str([one for one in found.findings if one.rule == "oversize"][0])


def test_other_runs_of_the_same_code_are_named(folder):
    write_log(folder, 1000, 1.3, CODE)
    assert "train_seed1000.log 1.3" in " ".join(record.check(folder).notes)


def test_files_that_the_script_reads_are_counted(folder):
    (folder / "helper_of_nobody.py").write_text("open(__file__.replace('.py', '.c'))\nNAME = 'kernel.c'\n")
    (folder / "kernel.c").write_text(" " * 1_000_000)
    found = record.check(folder)
    assert {finding.rule for finding in found.findings} == {"oversize"}
    assert "kernel.c 1,000,000" in str(found.findings[0])


def test_links_are_not_followed(folder, tmp_path):
    secret = tmp_path / "secret.log"
    secret.write_text("final_x val_loss:1.0 val_bpb:1.0\n")
    (folder / "extra.log").symlink_to(secret)
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(secret)
    found = record.check(folder)
    assert "extra.log" not in found.logs
    assert {finding.rule for finding in found.findings} == {"files"}


@pytest.mark.parametrize(
    "text",
    [
        "# fine\n\nmean val_bpb: 1.101\n",
        "# fine: 1.10 BPB\n",
        "# Record (val_bpb 1.1010)\n\n| | baseline val_bpb |\n|--|--|\n| x | 1.2244 |\n",
        "# fine\n\n**val\\_bpb = 1.1010** (baseline: 1.2244)\n",
        "We had val_bpb 1.2 before.\n\n## Results\n\n- Pre-quant: val_bpb:1.0900\n- Exact: val_bpb:1.10100000\n",
        TABLE_OF.format("1.1005", "1.1010"),
        TABLE_OF.format("1.10", "1.101"),
        "# From val_bpb: 1.2244 to val_bpb: 1.1010\n",
        "# 1.2244 BPB baseline improved to 1.1010 BPB\n",
        "# fine\n\n```sh\n# baseline gives val_bpb: 1.2244\n```\n\nmean val_bpb: 1.101\n",
        "1.1010\n\n| # | what | bpb |\n|--|--|--|\n| 42 | a | 1.2 |\n\n| Layers | val_bpb |\n|--|--|\n| 7 | 1.3 |\n",
        "# fine\n\nScore: mean val_bpb (sliding) = 1.101\n\n| seed | steps |\n|--|--|\n| 42 | 1.5 |\n",
    ],
)
def test_a_readme_may_round_and_tell_of_other_runs(folder, text):
    readme(folder, text)
    assert not record.check(folder).findings


PREFIXES = (
    *("1776000000.5 ", "2026-04-01 12:00:00,123 ", "[2026-04-01T12:00:00Z] INFO: ", "2026-04-01 12:00:00 - INFO - "),
    *(
        "INFO:root:",
        "2026-04-01 12:00:00 | INFO | ",
        "[2026-04-01 12:00:00,123][train][INFO] - ",
        "wandb: ",
        "12:00:00 ",
    ),
    *("[12:00:01] ", "2026/04/01 12:00:00 ", "(main, pid=1) ", "(worker pid=123, ip=10.0.0.1) "),
    *("[rank0]: ", "[default0]:", "0: ", "trainer-1  | ", "\x1b[32m", "[rank0]: 2026-04-01 12:00:00.5 "),
)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_log_is_read_whatever_stands_before_its_lines(folder, prefix):
    for path in folder.glob("*.log"):
        path.write_text("".join(f"{prefix}{line}\x1b[0m\n" for line in path.read_text().splitlines()))
    found = record.check(folder)
    assert not found.findings
    assert len(found.claimed) == 3


STORED = {
    "seed7.log": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "seed7.out": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "train_seed7.log.gz": lambda text: gzip.compress(text.encode()),
    "train_seed7.txt.zst": lambda text: zstandard.ZstdCompressor().compress(text.encode()),
    "train_seed7.LOG.XZ": lambda text: lzma.compress(text.encode()),
    "slurm-123.out": str.encode,
    "log": str.encode,
    "train_seed7.log.1": str.encode,
}


@pytest.mark.parametrize("name", STORED)
def test_a_log_is_read_however_it_is_stored(folder, name):
    path = folder / "train_seed7.log"
    text = path.read_text()
    path.unlink()
    (folder / name).write_bytes(STORED[name](text.replace("\n", "\r\n") if "16" in name else text))
    found = record.check(folder)
    assert not found.findings
    assert name in found.claimed


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train_seed7.log.gz", gzip.compress(b"x" * 1000, mtime=0)[:-12], "ends early"),
        ("train_seed7.log.zip", b"PK\3\4\0\0", "no text, not read"),
        ("train_seed7.log", "a\nb".encode("utf-16-le"), "no text, not read"),
        (
            "bomb.log.gz",
            gzip.compress(bytes(record.MOST_BYTES + 2048), mtime=0),
            "more than 67,108,864 bytes, unpacked",
        ),
    ],
)
def test_what_cannot_be_read_is_named_as_what_it_is(folder, name, content, words):
    (folder / name).write_bytes(content)
    assert any(note.startswith(name) and words in note for note in record.check(folder).notes)


def test_a_failed_run_that_nobody_claims_is_a_note(folder):
    write_log(folder, 1000, 1.3, CODE)
    append(folder, 1000, "final_ttt val_loss:nan val_bpb:nan")
    found = record.check(folder)
    assert not found.findings
    assert "train_seed1000.log: not claimed; it ends with final_ttt val_loss:nan" in " ".join(found.notes)


@pytest.mark.parametrize("unit", ["val_bpb (", "1.1", "[a](", "|", "| - ", "# ", "final_x val_bpb", "mean "])
def test_a_readme_of_any_size_is_read(folder, unit):
    """Lines that nobody reads are passed over: no pattern meets more than LONGEST_LINE characters."""
    readme(folder, "mean val_bpb 1.1010\n" + unit * 300_000 + "\n" + (unit * 20 + "\n") * 5_000)
    assert record.check(folder)


def test_several_folders_are_checked_in_one_go(folder):
    other = shutil.copytree(folder, folder.with_name("other"))
    command = [sys.executable, "-m", "preflight", "record"]
    done = subprocess.run([*command, folder, other], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("holds") == 2
    (other / "README.md").unlink()
    done = subprocess.run([*command, folder, other, "--json"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["folder"], one["passed"]) for one in told] == [(folder.name, True), ("other", False)]
    done = subprocess.run([*command, folder, folder / "none"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
