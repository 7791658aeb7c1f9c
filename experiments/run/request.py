"""The options of one call of loop.sh, and how a run remembers them: what is not typed again stays as it was."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from common.errors import CaddieError
from common.options import flag, flat_fields, option
from common.text import one_line
from experiments.ledger.store import Ledger, contains_run
from experiments.proposal.options import ProposerOptions
from experiments.run import machine
from experiments.run.layout import ledger_path
from experiments.tiers import Profile

FACT = "options"
OF_PROPOSER = {each.name for each in fields(ProposerOptions)}
FORGOTTEN = frozenset({"run", "root", "session"})  # they say which run, and which call


@dataclass(frozen=True)
class RunRequest:
    """The options of `run`, which `doctor` takes too."""

    trials: int = option(3, "stop after this many settled trials", minimum=0)
    hours: float = option(12.0, "stop after this many hours", minimum=0.0)
    run: str = option("demo", "the name of the run; an existing run continues with the options that it had")
    profile: str = option("pocket", "a machine of profiles.toml, such as pocket, laptop, one_gpu, h100, 8xh100")
    minutes: float | None = option(None, "another training time than the profile's", minimum=0.1)
    corpus: str = option("", "another corpus than the profile's: a folder of shards/, or a path")
    push: str = option("", "git remote (name or URL) that gets every result")
    level: str | None = option(None, "sandbox level; default: the best this machine offers")
    unsafe: bool = option(False, "allow a GPU run in isolation that leaks more than the goal")
    session: str = option("", "set by loop.sh: restarts of one call share it", hidden=True)
    root: Path = option(Path(), "the repository that holds base/")
    proposer: ProposerOptions = field(default_factory=ProposerOptions)
    given: frozenset[str] = frozenset()  # the names of the options that were typed
    recorded: Profile | None = None  # the profile of a run that has begun
    elsewhere: bool = False  # of doctor: the run will have another machine

    @property
    def machine(self) -> Profile:
        """The profile of the run, or the one that these options ask for; raises CaddieError for an unknown one."""
        return self.recorded or machine.named(self.profile, self.minutes, self.corpus)

    def with_remembered(self) -> "RunRequest":
        """Return the request with the run's own options wherever none was typed; raises CaddieError."""
        path = ledger_path(self.root, self.run)
        if not contains_run(path):
            return self
        ledger = Ledger(path)
        try:
            saved = json.loads(ledger.fact(FACT) or "{}")
            saved.setdefault("profile", ledger.fact("profile"))
            recorded = machine.profile_of(ledger)
        finally:
            ledger.close()
        if (table := recorded.table) and self.minutes not in (None, table.asked_minutes or table.minutes):
            raise CaddieError(f"run {self.run} has begun, and its training time cannot change; choose another --run")
        if (
            (table := recorded.table)
            and self.corpus
            and machine.corpus_name(self.corpus) != machine.corpus_name(table.corpus)
        ):
            raise CaddieError(f"run {self.run} has begun on corpus {table.corpus}; choose another --run")
        return replace(self._with(saved), recorded=recorded)

    def remember(self, ledger: Ledger) -> None:
        """Record the options that were typed, now or earlier, in the run's ledger."""
        from pydantic import TypeAdapter  # a tenth of a second, which `--help` does not need

        saved = json.loads(ledger.fact(FACT) or "{}")
        for each, kind in flat_fields(RunRequest):
            if each.name in self.given - FORGOTTEN:
                value = getattr(self.proposer if each.name in OF_PROPOSER else self, each.name)
                saved[key(each)] = TypeAdapter(kind).dump_python(_absolute(value), mode="json")
        ledger.set_fact(FACT, json.dumps(saved, sort_keys=True))

    def _with(self, saved: Mapping[str, Any]) -> "RunRequest":
        from pydantic import TypeAdapter, ValidationError

        values: dict[str, Any] = {}
        for each, kind in flat_fields(RunRequest):
            if key(each) in saved and each.name not in self.given | FORGOTTEN:
                try:
                    values[each.name] = TypeAdapter(kind).validate_python(saved[key(each)])
                except ValidationError as error:
                    found = one_line(repr(saved[key(each)]), 60)
                    message = f"run {self.run}: its ledger has {found} for --{key(each)}; give the option again"
                    raise CaddieError(message) from error
        of_proposer = {name: values.pop(name) for name in OF_PROPOSER & values.keys()}
        return replace(self, **values, proposer=replace(self.proposer, **of_proposer))


def key(option_field: Any) -> str:
    """Return the name under which the ledger has an option: as it is typed, without the dashes."""
    return flag(option_field.name, option_field.metadata)[2:]


def _absolute(value: Any) -> Any:
    """Return paths so that they mean the same from any folder; other values as they are."""
    if isinstance(value, list):
        return [_absolute(each) for each in value]
    return value.resolve() if isinstance(value, Path) else value
