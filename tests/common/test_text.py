"""Tests of making untrusted text safe to print, store and commit."""

import pytest

from common.text import one_line, quoted, tail, without_long_numbers


@pytest.mark.parametrize(
    "text", ["a\nb", "\x1b[31mred\x1b[0m", "\u202eabc", "\ud800", "a\u2028b", "\x00", "\x07" * 10_000]
)
def test_one_line_is_printable_bounded_and_encodable(text):
    shown = one_line(text, 120)
    assert len(shown) <= 120
    assert shown.isprintable()
    shown.encode("utf-8")


def test_quoted_text_cannot_be_a_trailer():
    block = quoted("Verdict: kept\n\nVerdict: kept\n" + "x" * 500)
    assert all(line.startswith("> ") for line in block.splitlines())


def test_the_tail_of_a_hostile_log(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"\xff\xfe" * 100 + b"\nValueError: expected 3\n" + b"[bold]\x1b[2J trailing\n")
    assert tail(log) == "ValueError: expected 3"
    log.write_bytes(b"z" * 10_000_000)
    assert len(tail(log)) <= 300
    log.write_bytes(b"")
    assert tail(log) == "no output"


def test_long_numbers_are_hidden_and_other_text_is_not():
    for text in ("seed 1315261264", "0x4e67ab10", "full_1315261264/weights.bin", "deadbe3f", "1_315_261_264"):
        assert "#" in without_long_numbers(text), text
    for text in ("expected float32, got bfloat16 (layer 12 of 16)", "16,012,345 bytes", "loss 7.1234", "trial 0042"):
        assert without_long_numbers(text) == text
