"""Where measurements happen, by name; a runner is imported when it is asked for."""

from importlib import import_module

from data.errors import CaddieError
from experiments.job import Runner

RUNNERS = {"local": "experiments.runners.local:LocalRunner"}


def runner(name: str) -> Runner:
    if name not in RUNNERS:
        raise CaddieError(f"got runner {name!r}, expected one of {', '.join(RUNNERS)}")
    module, _, attribute = RUNNERS[name].partition(":")
    made: Runner = getattr(import_module(module), attribute)()
    return made
