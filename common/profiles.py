"""The schema of profiles.toml: the machines that caddie knows, and the budgets of a trial on each."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

from common.errors import CaddieError
from common.limits import ARTIFACT_BYTES, TRAIN_SECONDS
from common.text import one_line

POCKET_PIECES = 1_024  # of the vocabulary that `piece_bytes` counts from
FILE = Path(__file__).resolve().parents[1] / "profiles.toml"


@dataclass(frozen=True)
class Proxy:
    """A short first measurement that discards clear losses."""

    steps: int
    measurement_minutes: float
    gpus: int | None = None
    batch_tokens: int | None = None


@dataclass(frozen=True)
class Record:
    """What differs in the measurements of a promotion."""

    audit_positions: int = 32_768


@dataclass(frozen=True)
class ProfileTable:
    """One table of profiles.toml, whose head describes the keys; raises CaddieError for a value out of its range."""

    name: str
    about: str = ""
    gpus: int = 0
    gpu: str = ""
    threads: int = 1
    preset: str = "pocket"
    corpus: str = "pocket"
    vocab_size: int | None = None  # the corpus' own, once a run has begun
    asked_minutes: float | None = None  # what became steps when a run began
    steps: int | None = None
    minutes: float | None = None
    batch_tokens: int | None = None
    sequence_length: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    seeds: int = 3
    noise_bpb: float | None = None
    noise_degrees: float = 1.0
    measurement_minutes: float = 1.0
    longest_minutes: float = 4.0
    score_minutes: float | None = None
    pack_seconds: float | None = None
    audit_positions: int | None = None
    artifact_bytes: int = ARTIFACT_BYTES
    piece_bytes: int = 0
    memory_gib: float | None = None
    temporary_gib: float | None = None
    dollars_per_hour: float = 0.0
    track: str = ""
    proxy: Proxy | None = None
    record: Record = Record()

    def __post_init__(self) -> None:
        checks = (
            ("gpus", 0 <= self.gpus <= 8, "0 to 8"),
            ("threads", 1 <= self.threads <= 256, "1 to 256"),
            ("artifact_bytes", 1_000 <= self.artifact_bytes <= ARTIFACT_BYTES, f"1,000 to {ARTIFACT_BYTES:,}"),
            ("seeds", 1 <= self.seeds <= 20, "1 to 20"),
            ("minutes", self.minutes is None or 0 < self.minutes <= TRAIN_SECONDS / 60, "more than 0, at most 10"),
            ("steps", self.steps is None or 10 <= self.steps <= 1_000_000, "10 to 1,000,000, or minutes"),
            ("steps", (self.steps is None) != (self.minutes is None), "one of steps and minutes"),
            ("longest_minutes", self.gpus > 0 or self.longest_minutes > (self.minutes or 0), "more than minutes"),
            ("memory_gib", self.memory_gib is None or 1 <= self.memory_gib <= 4096, "1 to 4,096"),
            ("dollars_per_hour", self.dollars_per_hour >= 0, "0 or more"),
        )
        if bad := [name for name, value in self.settings.items() if not _is_setting(name, value)]:
            expected = 'the name of a knob in capitals, and text: { EVAL_STRIDE = "32" }'
            raise CaddieError(f"profile {self.name}: settings: got {one_line(str(bad[0]), 60)}, expected {expected}")
        for name, good, expected in checks:
            if not good:
                raise CaddieError(f"profile {self.name}: {name}: got {getattr(self, name)}, expected {expected}")

    def changed(self, minutes: float | None = None, corpus: str = "") -> "ProfileTable":
        """Return the profile with another training time or corpus, where one is given; what depends on it follows."""
        table = replace(self, corpus=corpus) if corpus else self
        if not minutes:
            return table
        measurement = max(self.measurement_minutes - (self.minutes or 0.0), 0.5) + minutes
        longest = max(self.longest_minutes, 4 * minutes)
        times = {"minutes": minutes, "measurement_minutes": measurement, "longest_minutes": longest}
        return replace(table, steps=None, **times)  # type: ignore[arg-type]

    def with_vocabulary(self, vocab_size: int) -> "ProfileTable":
        """Return the profile for a vocabulary, with room in the artifact for the pieces that a small one lacks."""
        more = self.piece_bytes * max(vocab_size - POCKET_PIECES, 0)
        return replace(self, vocab_size=vocab_size, artifact_bytes=min(self.artifact_bytes + more, ARTIFACT_BYTES))

    def plain(self) -> dict[str, Any]:
        """Return the keys that differ from their default, as `from_plain` reads them."""
        default = asdict(ProfileTable(self.name, steps=10))
        return {key: value for key, value in asdict(self).items() if key in ("name", "steps") or value != default[key]}

    @classmethod
    def from_plain(cls, name: str, values: Mapping[str, Any]) -> "ProfileTable":
        """Read a table.

        Raises:
            CaddieError: A key is unknown, or a value has the wrong type or is out of its range.
        """
        nested = {"proxy": Proxy, "record": Record}
        read: dict[str, Any] = {}
        for key, value in _typed(cls, f"profile {name}", {**values, "name": name}).items():
            kind = nested.get(key)
            read[key] = kind(**_typed(kind, f"profile {name}: {key}", value)) if kind and value is not None else value
        return cls(**read)


def read_profiles(path: Path = FILE) -> dict[str, ProfileTable]:
    """Read every profile of a file; raises CaddieError with the profile and the key that is wrong."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CaddieError(f"{path.name}: expected TOML, found {one_line(str(error), 200)}") from error
    for name, values in tables.items():
        if not isinstance(values, dict):
            raise CaddieError(f"{path.name}: {one_line(name, 60)}: expected a table [NAME] of keys, found a value")
    return {name: ProfileTable.from_plain(name, values) for name, values in tables.items()}


def _typed(kind: Any, where: str, values: Any) -> dict[str, Any]:
    """Return values by the types of a dataclass's fields; raises CaddieError for the first that does not fit."""
    if not isinstance(values, Mapping):
        raise CaddieError(f"{where}: expected a table, found {one_line(repr(values), 60)}")
    hints = get_type_hints(kind)
    for key, value in values.items():
        if key not in hints:
            known = ", ".join(name for name in hints if name not in INTERNAL)
            raise CaddieError(f"{where}: unknown key {one_line(str(key), 60)}, expected one of {known}")
        allowed = get_args(hints[key]) if isinstance(hints[key], UnionType) else (hints[key],)
        if not any(type(value) in ACCEPTED.get(each, (each, dict)) for each in allowed):
            names = " or ".join(WORDS.get(each, "a table") for each in allowed if each is not type(None))
            raise CaddieError(f"{where}: {key}: got {one_line(repr(value), 60)}, expected {names}")
    return dict(values)


def _is_setting(name: object, value: object) -> bool:
    """Return True for a knob's name in capitals that no part of the system reads for itself, with text as its value."""
    good = (
        isinstance(name, str) and re.fullmatch("[A-Z][A-Z0-9_]{1,60}", name) and not name.startswith(RESERVED_PREFIXES)
    )
    return bool(good) and isinstance(value, str)


INTERNAL = ("name", "vocab_size", "asked_minutes")  # not for people to set
# Variables that the sandbox, the linker or the interpreter reads before base does.
RESERVED_PREFIXES = (
    *("PATH", "HOME", "USER", "LANG", "LC_", "LD_", "TMP", "XDG_", "PYTHON", "GLIBC", "MALLOC", "TORCH", "CUDA"),
)
ACCEPTED = {int: (int,), float: (int, float), str: (str,), type(None): (type(None),)}  # by type: a bool is no number
WORDS = {int: "a whole number", float: "a number", str: "text"}
