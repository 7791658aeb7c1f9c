"""Tests of the syntax check and of fingerprints."""

from helpers.base_tree import BASE, with_file

from preflight.source import syntax


def test_syntax_names_the_line_and_unresolved_imports():
    assert syntax.check(BASE) == []
    (finding,) = syntax.check(with_file("base/train.py", b"x = 1\ndef f(:\n"))
    assert (finding.path, finding.line) == ("base/train.py", 2)
    for code in (b"f(a=1, a=2)\n", b"return 1\n", b"def f(a, a): ...\n"):  # only the compiler rejects these
        (finding,) = syntax.check(with_file("base/new.py", code), BASE)
        assert (finding.rule, finding.line) == ("static", 1)
    (finding,) = syntax.check(with_file("base/new.py", b"from base.model.nothing import x\n"))
    assert "base.model.nothing" in finding.got
    (finding,) = syntax.check(with_file("base/new.py", b"from . import x\n"))
    assert "relative" in finding.got


def test_comments_and_layout_do_not_change_a_fingerprint():
    source = BASE["base/train.py"].content
    commented = with_file("base/train.py", source.replace(b"import json", b"import json  # for the log"))
    assert syntax.fingerprint(commented) == syntax.fingerprint(BASE)
    assert syntax.fingerprint(with_file("base/train.py", source + b"\nx = 1\n")) != syntax.fingerprint(BASE)
