"""Tests of the commands that read a run: `log`, `compare`, `diff`, `export`, `status` and `show`."""

import csv
import io
import json
import sqlite3
from contextlib import closing

import pytest
from helpers.programs import call_command

from experiments.cli import results


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("log", "--run", "night", "--kept"), "more text"),
        (("compare", "0", "1", "--run", "night"), "shared seeds"),
        (("diff", "0", "1", "--run", "night"), '+PRESETS = {"tiny": {"seed": 1, "iterations": 12'),
        (("diff", "1", "--run", "night"), "iterations"),
        (("gc", "--run", "night", "--dry-run"), "would be freed"),
        (("finalize", "night"), "finalize/night"),
        (("report", "--run", "night"), "index.html"),
    ],
)
def test_commands_print_what_they_read(run_with_keep, arguments, expected):
    assert expected in call_command(run_with_keep, *arguments)


def test_log_filters_by_class(run_with_keep):
    assert call_command(run_with_keep, "log", "--run", "night", "--class", "optimizer") == ""


def test_output_for_scripts_is_json_and_csv(run_with_keep):
    run = run_with_keep
    rows = json.loads(call_command(run, "export", "--run", "night", "--json"))
    assert [row["number"] for row in rows] == [0, 1]
    table = list(csv.DictReader(io.StringIO(call_command(run, "export", "--run", "night", "--csv"))))
    assert [row["state"] for row in table] == ["baseline", "kept"]
    assert json.loads(call_command(run, "status", "--run", "night", "--json"))["incumbent"]["number"] == 1
    assert json.loads(call_command(run, "show", "1", "--run", "night", "--json"))["trials"][0]["title"] == "more text"
    assert json.loads(call_command(run, "log", "--run", "night", "--json"))[0]["state"] == "kept"
    comparison = json.loads(call_command(run, "compare", "0", "1", "--run", "night", "--json"))
    for command in (["export"], ["log"], ["show", "1"], ["status"]):
        text = call_command(run, *command, "--run", "night", "--json")
        assert '"{' not in text, f"{command}: JSON within a string of JSON"
    assert rows[1]["knobs"]["iterations"] == 12
    with closing(sqlite3.connect(run.ledger.path)) as connection, connection:
        connection.execute("""UPDATE trials SET knobs = '{"a": NaN, "b": -Infinity}' WHERE number = 1""")
    for command in (["export"], ["log"], ["show", "1"], ["status"], ["compare", "0", "1"]):
        json.loads(call_command(run, *command, "--run", "night", "--json"), parse_constant=pytest.fail)
    assert rows[1]["proposal"]["title"] == "more text"
    assert comparison["knobs"] == {"iterations": [4, 12]}
    assert len(comparison["paired_differences_bpb"]) >= 2


def test_a_cell_that_looks_like_a_formula_is_quoted(run_with_keep):
    number = run_with_keep.begin_trial("=HYPERLINK(1)", "data", "0" * 40, hypothesis="", proposal="{}")
    assert results.plain(run_with_keep.ledger.row(number))["title"] == "'=HYPERLINK(1)"
