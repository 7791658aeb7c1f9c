"""Tests that hold for every command."""

from experiments.cli import app


def test_every_help_has_an_example():
    for registered in app.app.registered_commands:
        assert "Example: python -m experiments" in registered.callback.__doc__, registered.callback
