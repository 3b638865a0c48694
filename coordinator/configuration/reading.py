"""Reading the sections of a configuration, with errors that name the path of what is wrong."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ...domain.errors import ConfigurationError, UnknownNameError
from .section import TAGS, Section

SectionT = TypeVar("SectionT", bound=Section)


def read_section(model: type[SectionT], raw: object, where: str) -> SectionT:
    """Check a raw mapping against a section.

    Raises
    ------
    UnknownNameError
        A key that the section does not have; names its path and the nearest match.
    ConfigurationError
        A value that is missing or of the wrong kind; names its path and what was found.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
    path = _path(where, first["loc"])
    if first["type"] == "extra_forbidden":
        raise UnknownNameError("key", str(first["loc"][-1]), _keys(model, first["loc"][:-1]), path)
    found = "" if first["type"] == "missing" else f", was {first['input']!r}"
    message = first["msg"].removeprefix("Value error, ")
    raise ConfigurationError(f"{path}: {message[:1].lower()}{message[1:]}{found}.")


def _path(where: str, location: tuple[int | str, ...]) -> str:
    steps = "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in location if step not in TAGS
    )
    return (where + steps).removeprefix(".")


def _keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the section at `location` inside a model accepts."""
    for step in location:
        if isinstance(step, str) and step in model.model_fields:
            inner = _section_in(model.model_fields[step].annotation)
            model = inner or model
    return list(model.model_fields)


def _section_in(annotation: object) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _section_in(argument)) is not None:
            return found
    return None
