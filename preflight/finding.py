"""One reason to refuse a candidate, in the shape that people, the ledger and proposers read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from data.errors import Refused
from data.state import State


@dataclass(frozen=True)
class Finding:
    """A broken rule at a place: what was found and what was expected."""

    rule: str  # the verdict it becomes: static, oversize, crash, dishonest, ...
    path: str  # file of the tree, or the phase that ran
    got: str
    expected: str
    line: int = 0  # 0 = the whole file
    spent: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)  # (used, limit) of a limit met

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{self.rule}: {place}: got {self.got}; expected {self.expected}"

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def refusal(self) -> Refused:
        return Refused(State(self.rule), str(self), spent=self.spent)
