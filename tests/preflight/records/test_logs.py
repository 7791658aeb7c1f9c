"""Tests of the log parser: official log lines, and lines that are not a score."""

import csv

import pytest
from helpers.tiny_profile import ROOT

from preflight.records import logs

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


@pytest.mark.skipif(not TABLE.exists(), reason="the table of official log lines is not next to this checkout")
def test_every_official_line_is_read():
    rows = list(csv.DictReader(TABLE.read_text().splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(rows) > 80
    for row in rows:
        lines = [line for name in LINES for line in row[f"line_{name}"].split(" ;; ") if line]
        log = logs.parse("\n".join(["import lzma", "    final_int8 val_loss:9.0 val_bpb:9.0", *lines]))
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


def test_diagnostics_and_quoted_code_are_not_scores():
    log = logs.parse(
        "1776000000.5 seed: 7\n"
        "diagnostic quantized val_loss:1.0 val_bpb:0.5 eval_time:1ms\n"
        "DIAGNOSTIC post_ema val_loss:1.0 val_bpb:0.5\n"
        '    log0(f"final_int8 val_loss:1.0 val_bpb:0.5")\n'
        "1776000001.5 final_int8_zlib_roundtrip val_loss:2.0719 val_bpb:1.2271 eval_time:1535ms\n"
        "1776000001.6 final_int8_zlib_roundtrip_exact val_loss:2.07193000 val_bpb:1.22713000\n"
        "Total submission size: 99 bytes\n"
    )
    assert [final.tag for final in log.finals] == ["final_int8_zlib_roundtrip", "final_int8_zlib_roundtrip_exact"]
    assert (log.seed, log.final_seconds, log.total_bytes) == (7, 1.535, 99)
