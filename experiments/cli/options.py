"""Options that several commands share, and a decorator that makes a dataclass a command's options."""

from collections.abc import Callable
from dataclasses import MISSING, Field, is_dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from common.options import flag, flat_fields
from experiments.repo.run_name import checked_name

Request = TypeVar("Request")
Name = Annotated[str, typer.Option("--run", help="the name of the run", callback=checked_name)]
RunArgument = Annotated[str, typer.Argument(help="the name of the run", callback=checked_name)]
Root = Annotated[Path, typer.Option(help="the repository that holds base/")]
Level = Annotated[str | None, typer.Option(help="sandbox level; default: the best this machine offers")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]


def takes(kind: type[Request]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Turn the fields of a dataclass into a command's options; the command gets the dataclass as its first argument.

    Example:
        >>> @takes(RunRequest)
        ... def doctor(request: RunRequest) -> None: ...
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def command(context: typer.Context, **values: Any) -> None:
            sources = {name: context.get_parameter_source(name) for name in values}
            typed = frozenset(name for name, source in sources.items() if source and source.name == "COMMANDLINE")
            function(_build(kind, values, typed), **values)

        own = [
            parameter.replace(kind=Parameter.KEYWORD_ONLY)
            for parameter in list(signature(function, eval_str=True).parameters.values())[1:]
        ]
        context = Parameter("context", Parameter.KEYWORD_ONLY, annotation=typer.Context)
        shared = [context, *(_parameter(field, annotation) for field, annotation in flat_fields(kind))]
        command.__signature__ = Signature([*shared, *own])  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in [*shared, *own]}
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        return command

    return decorate


def _parameter(field: Field[Any], annotation: Any) -> Parameter:
    metadata = field.metadata
    name = flag(field.name, metadata)
    option = typer.Option(
        f"{name}/--no-{name[2:]}" if annotation is bool else name,  # so that a run can be made to forget it
        help=metadata["help"],
        min=metadata["minimum"],
        hidden=metadata["hidden"],
        callback=checked_name if field.name == "run" else None,
    )
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, option])


def _build(kind: Any, values: dict[str, Any], typed: frozenset[str]) -> Any:
    """Return the dataclass; a field `given` gets the names of the options that were typed."""
    hints = get_type_hints(kind)
    parts: dict[str, Any] = {"given": typed} if "given" in hints else {}
    parts |= {name: _build(hint, values, typed) for name, hint in hints.items() if is_dataclass(hint)}
    return kind(**parts, **{name: values.pop(name) for name in hints if name in values})
