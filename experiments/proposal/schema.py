"""The schema of a proposal: a title, a hypothesis, and edits whose search texts must match exactly once."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from common.errors import ProposalError
from common.limits import MOST_EXPECTED_BPB
from common.state import State
from common.text import one_line
from experiments.ledger.rows import class_name
from experiments.proposal.parts import IDEA_TAG

ProposalClass = Literal[
    "architecture", "optimizer", "schedule", "data", "quantization", "compression", "evaluation", "simplify"
]
TEXT_BYTES = 400_000  # of a proposal as JSON


class Edit(BaseModel):
    """A change of one file: either `search` and `replace`, or its whole new `content`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    path: str
    search: str | None = None
    replace: str | None = None
    content: str | None = None


class Proposal(BaseModel):
    """One idea to try, as edits of the incumbent's base/.

    Args:
        title: One line that names the idea.
        hypothesis: Why it should lower bits per byte.
        kind: The class of the idea. `class` is a keyword of Python, so the field is `kind` here and `class` in JSON.
        parent: The commit that the edits were written against.
        expected_delta_bpb: The expected change of val_bpb; negative is better.
        idea: The tag of the idea in proposers/llm/prompts/ideas.md, if it is one of those.
        by: The proposer: a model, `search`, `merge` or `command`.
        edits: At least one, applied in order.

    Example:
        >>> proposal = Proposal.parse(text)
        >>> proposal.edits[0].path
        'base/config.py'
    """

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)

    title: Annotated[str, Field(min_length=1, max_length=500)]
    hypothesis: Annotated[str, Field(max_length=8_000)]
    kind: Annotated[ProposalClass, Field(alias="class")]
    parent: Annotated[str, Field(pattern=r"[0-9a-f]{40}")]
    expected_delta_bpb: Annotated[float, Field(allow_inf_nan=False, ge=-MOST_EXPECTED_BPB, le=MOST_EXPECTED_BPB)]
    idea: Annotated[str, Field(pattern=f"^({IDEA_TAG})?$")] = ""
    by: Annotated[str, Field(pattern=r"^[\w.-]{0,60}$")] = ""
    edits: Annotated[tuple[Edit, ...], Field(min_length=1, strict=False)]

    @field_validator("kind", mode="before")
    @classmethod
    def _spelled_as_today(cls, value: object) -> object:
        return class_name(value) if isinstance(value, str) else value

    @classmethod
    def parse(cls, text: str) -> "Proposal":
        """Read a proposal from JSON.

        Raises:
            ProposalError: The text is too long or does not fit the schema; the message names the first bad field.
        """
        if len(text) > TEXT_BYTES:
            raise ProposalError(State.BAD_DIFF, f"proposal: got {len(text)} characters, expected at most {TEXT_BYTES}")
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "proposal"
            raise ProposalError(State.BAD_DIFF, one_line(f"{field}: {first['msg']}")) from error

    def to_json(self) -> str:
        """Return the proposal as JSON, with `class` for `kind` and without empty fields of edits."""
        return self.model_dump_json(by_alias=True, exclude_none=True)
