"""Command-line options as dataclass fields, declared once for every program that takes them."""

from collections.abc import Iterator
from dataclasses import field, fields, is_dataclass
from typing import Any, get_type_hints


def option(default: Any, description: str, name: str = "", minimum: float | None = None, hidden: bool = False) -> Any:
    """Declare a dataclass field that is also a command-line option.

    Args:
        default: The value without the option; a list is copied for each instance.
        description: The help text.
        name: The option's name, if it is not the field's own with dashes.
        minimum: The smallest number allowed.
        hidden: Leave the option out of `--help`.

    Example:
        >>> @dataclass
        ... class Options:
        ...     passed: list[str] = option([], "an environment variable that the command gets", name="pass")
    """
    metadata = {"help": description, "name": name, "minimum": minimum, "hidden": hidden}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def flag(name: str, metadata: Any) -> str:
    """Return an option as it is typed, such as `--run`."""
    return "--" + (metadata["name"] or name.replace("_", "-"))


def flat_fields(kind: type) -> Iterator[tuple[Any, Any]]:
    """Yield the options of a dataclass and of dataclasses nested in it, each field with its type."""
    hints = get_type_hints(kind)
    for option_field in fields(kind):
        if is_dataclass(hints[option_field.name]):
            yield from flat_fields(hints[option_field.name])
        elif "help" in option_field.metadata:
            yield option_field, hints[option_field.name]


def arguments(options: Any) -> list[str]:
    """Return the command-line arguments that reproduce `options`, without those that have their default."""
    default = type(options)()
    line: list[str] = []
    for option_field in fields(options):
        value = getattr(options, option_field.name)
        if value == getattr(default, option_field.name):
            continue
        name = flag(option_field.name, option_field.metadata)
        if isinstance(value, bool):
            line.append(name)
        else:
            line += [part for item in (value if isinstance(value, list) else [value]) for part in (name, str(item))]
    return line
