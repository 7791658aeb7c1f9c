"""Tests of the vocabulary against the installed modules."""

import importlib
import sys
import types
import warnings

from preflight.lint.bindings import is_member
from preflight.lint.vocabulary import MODULES, REFUSED


def test_no_listed_module_exposes_an_unlisted_one():
    """Every installed module that a listed one exposes is listed itself, or refused by its name."""
    exposed, metaclasses = [], []
    for name in MODULES:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = importlib.import_module(name)
        except ImportError:
            continue
        for member in dir(module):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = getattr(module, member, None)
            reachable = is_member(name, member) and member not in REFUSED and f"{name}.{member}" not in MODULES
            if reachable and isinstance(value, types.ModuleType) and name != "torch.ops":
                exposed.append(f"{name}.{member}")
            if reachable and isinstance(value, type) and issubclass(value, type):
                metaclasses.append(f"{name}.{member}")
    assert (exposed, metaclasses) == ([], [])
    assert "os" in sys.stdlib_module_names
