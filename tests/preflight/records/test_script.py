"""Tests of the script's inspection: every file that it reads or imports counts as code."""

from preflight.records import check


def test_a_package_next_to_the_script_is_counted(folder):
    (folder / "helper_elsewhere").mkdir()
    (folder / "helper_elsewhere" / "__init__.py").write_text("pass\n" + " " * 1_000_000)
    findings = check.check(folder).findings
    assert "helper_elsewhere/__init__.py 1,000,005" in str([each for each in findings if each.rule == "oversize"][0])


def test_files_that_the_script_reads_are_counted(folder):
    (folder / "helper_elsewhere.py").write_text("open(__file__.replace('.py', '.c'))\nNAME = 'kernel.c'\n")
    (folder / "kernel.c").write_text(" " * 1_000_000)
    findings = check.check(folder).findings
    assert {finding.rule for finding in findings} == {"oversize"}
    assert "kernel.c 1,000,000" in str(findings[0])
