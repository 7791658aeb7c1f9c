"""A reason to refuse a candidate, in the form that people, the ledger and proposers read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from common.errors import Refused
from common.state import State


@dataclass(frozen=True)
class Finding:
    """A broken rule and its location, with what was found and what was expected."""

    rule: str  # the verdict it becomes: static, oversize, crash, dishonest, ...
    path: str  # file of the tree, or the phase that ran
    got: str
    expected: str
    line: int = 0  # 0 = the whole file
    spent: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)  # (used, limit) by name

    def __str__(self) -> str:
        location = f"{self.path}:{self.line}" if self.line else self.path
        return f"{self.rule}: {location}: got {self.got}; expected {self.expected}"

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def refusal(self) -> Refused:
        return Refused(State(self.rule), str(self), spent=self.spent)
