"""Knobs from text: `--set NAME=VALUE` is strict, and an environment variable overrides the knob of its exact name.

Knob names are unique over the sections, so NUM_LAYERS=11 in the environment (the challenge's convention) and
`--set num_layers=11` mean the same. An environment variable that misses a knob by one letter is an error.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, fields, replace

from base.config import Config

# Set by launchers, drivers and shells: never treated as a misspelled knob.
RESERVED_PREFIXES = (
    "CUDA", "NCCL", "GLOO", "OMP", "MKL", "KMP", "PYTHON", "TORCH", "TRITON", "PYTORCH", "LOCAL_", "GROUP_", "ROLE_",
    "MASTER_", "WORLD_SIZE", "RANK", "LC_", "XDG_", "SLURM", "NVIDIA",
)  # fmt: skip
RESERVED_NAMES = {"PATH", "HOME", "USER", "TMPDIR", "LANG", "TERM", "SHELL", "PWD", "PRESET"}
RESERVED_NAMES |= {"DATA_PATH", "VAL_PATH", "TOKENIZER_PATH", "RUN_ID"}


def sections() -> dict[str, str]:
    """Return the section name of every knob name."""
    return {knob.name: section.name for section in fields(Config) for knob in fields(section.default)}


def resolve(preset: Config, assignments: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Apply exact knob names in the environment to the preset, then NAME=VALUE assignments.

    Raises ValueError for unknown or ill-typed values and for environment names that miss a knob by one letter.
    """
    values = {name.lower(): text for name, text in environment.items() if name.lower() in sections() and name.isupper()}
    for name in environment:
        near = next((knob for knob in sections() if one_letter_apart(name.lower(), knob)), None)
        if near and name.isupper() and name not in RESERVED_NAMES and not name.startswith(RESERVED_PREFIXES):
            raise ValueError(f"environment variable {name} is no knob; did you mean {near.upper()}? rename or unset it")
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ValueError(f"--set expects NAME=VALUE, got {assignment!r}")
        values[name.lower()] = text
    return override(preset, values)


def override(config: Config, values: Mapping[str, str]) -> Config:
    """Return a copy of `config` with some knobs read from text."""
    section_of = sections()
    for name, text in values.items():
        if name not in section_of:
            near = difflib.get_close_matches(name, section_of, n=1)
            raise ValueError(f"unknown knob {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        section = config.sections[section_of[name]]
        value = parse(name, text, kind_of(asdict(section)[name]))
        choices = next(knob.metadata["choices"] for knob in fields(section) if knob.name == name)
        if choices and value not in choices:
            raise ValueError(f"knob {name} expects one of {', '.join(choices)}, got {text!r}")
        config = replace(config, **{section_of[name]: replace(section, **{name: value})})
    return config


def kind_of(value):
    """Return the type of a knob's value; bool comes first because a bool is also an int."""
    return next(kind for kind in (bool, int, float, str) if isinstance(value, kind))


def parse(name: str, text: str, kind):
    readers = {
        bool: lambda text: {"1": True, "true": True, "0": False, "false": False}[text.lower()],
        int: int,
        float: float,
        str: str,
    }
    try:
        return readers[kind](text)
    except (KeyError, ValueError):
        raise ValueError(f"knob {name} expects {kind.__name__}, got {text!r}") from None


def one_letter_apart(first: str, second: str) -> bool:
    """Return True if one insertion, deletion, substitution or swap of neighbors turns one word into the other."""
    if first == second or abs(len(first) - len(second)) > 1:
        return False
    start = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    a, b = first[start:], second[start:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:] or (a[:2] == b[:2][::-1] and a[2:] == b[2:])


def describe_knobs(config: Config) -> list[dict]:
    """List every knob with its section, type, resolved value and doc."""
    return [
        {
            "name": knob.name,
            "section": name,
            "type": kind_of(value).__name__,
            "value": value,
            "doc": knob.metadata["doc"],
            "range": asdict(knob.metadata["range"]) if knob.metadata["range"] else None,
            "choices": list(knob.metadata["choices"]),
        }
        for name, section in config.sections.items()
        for knob, value in zip(fields(section), astuple(section), strict=True)
    ]
