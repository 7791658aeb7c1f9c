"""The machine of a run: a profile made definite when the run begins, so that nothing about it changes afterwards."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import CaddieError
from common.limits import TEXT_BYTES, TEXT_TOLERANCE
from common.profiles import ProfileTable
from experiments.ledger.store import Ledger
from experiments.tiers import POCKET_TRACK, PROFILES, Profile

if TYPE_CHECKING:
    from data.corpus import Corpus

NAME, TABLE = "profile", "profile_table"  # facts of a ledger
LEAST_STEPS = 20


def named(name: str, minutes: float | None = None, corpus: str = "") -> Profile:
    """Return a profile of profiles.toml, with another training time or corpus where one is given.

    Raises:
        CaddieError: There is no such profile, or it cannot be changed like that.
    """
    if name not in PROFILES:
        known = ", ".join(PROFILES)
        raise CaddieError(
            f"got profile {name[:60]!r}, expected one of {known}; profiles.toml holds them, add yours there"
        )
    profile = PROFILES[name]
    if minutes is None and not corpus:
        return profile
    if profile.table is None:
        raise CaddieError(f"profile {name} takes neither --minutes nor --corpus")
    return Profile.of(profile.table.changed(minutes, corpus_name(corpus)))


def corpus_name(corpus: str) -> str:
    """Return the name of a corpus in shards/, however it was typed, or the absolute path of one elsewhere."""
    path = Path(corpus)
    if len(path.parts) == 2 and path.parts[0] == "shards":
        return path.name
    return corpus if len(path.parts) < 2 else str(path.resolve())


def corpus_folder(root: Path, profile: Profile) -> Path:
    """Return the folder of a profile's corpus."""
    return root / "shards" / corpus_name(profile.corpus)


def profile_of(ledger: Ledger) -> Profile:
    """Return the profile that a run recorded when it began; raises CaddieError if it can no longer be read.

    A run that began before profiles were recorded has the profile of that name today.
    """
    name = ledger.fact(NAME) or ""
    if not (table := ledger.fact(TABLE)):
        return named(name)
    try:
        return Profile.of(ProfileTable.from_plain(name, json.loads(table)))
    except ValueError as error:
        raise CaddieError(f"{ledger.path}: the run's profile {name[:60]!r} cannot be read: {error}") from error


def record(ledger: Ledger, name: str, profile: Profile) -> None:
    """Record the profile of a run that begins."""
    if profile.table:
        ledger.set_fact(TABLE, json.dumps(profile.table.plain(), sort_keys=True))
    ledger.set_fact(NAME, name)


def definite(profile: Profile, corpus: "Corpus", program: Path, level: str, work: Path) -> Profile:
    """Return a profile with the corpus' vocabulary and track, no more threads than cores and, without a GPU, steps.

    Args:
        profile: The profile as it was asked for.
        corpus: Its corpus.
        program: The bundle of the tree that the run begins with, to measure a training step.
        level: The sandbox level.
        work: An empty folder for the measurement.

    Raises:
        Refused: The tree does not train.
        CaddieError: The training time is too short for LEAST_STEPS.
    """
    from preflight import step_cost  # not for commands that only read a profile
    from preflight.candidate.candidate import Candidate
    from preflight.candidate.launch import launch_config

    table = profile.table
    if table is None:
        return profile
    text_bytes = corpus.manifest.text_bytes.get("validation", 0)
    if table.track and abs(text_bytes - TEXT_BYTES) > TEXT_TOLERANCE * TEXT_BYTES:
        table = replace(table, track=POCKET_TRACK)  # another text than the challenge's has no record but the baseline
    cores = len(os.sched_getaffinity(0))
    table = replace(table.with_vocabulary(corpus.manifest.vocab_size), threads=min(table.threads, cores))
    if table.minutes and not table.gpus:
        target = launch_config(replace(table, steps=step_cost.LONG, minutes=None))
        seconds = step_cost.step_wall_seconds(Candidate(program, target, level), corpus, work)
        if (steps := int(60 * table.minutes / seconds)) < LEAST_STEPS:
            minutes, least = table.minutes, LEAST_STEPS * seconds / 60
            raise CaddieError(
                f"{minutes:g} minutes are {steps} training steps of preset {table.preset} on this machine, expected at "
                f"least {LEAST_STEPS}: --minutes {least:.1f}, or a smaller preset"
            )
        table = replace(table, steps=steps, minutes=None, asked_minutes=table.minutes)
    return Profile.of(table)
