"""Descriptions of workflows as they are written: in YAML files, in shipped templates, or as mappings."""

from collections.abc import Mapping
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml

from ...domain.errors import ConfigurationError, NotFoundError, UnknownNameError

Raw = dict[str, Any]


class WrittenAsText:
    """What stands in a workflow as the text that ``str`` makes of it."""

    __slots__ = ()


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML in which a key may stand only once in a mapping."""


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> Raw:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigurationError(
                f"{key.start_mark.name}, line {key.start_mark.line + 1}: a key must be a text."
            )
        if key.value in seen:
            raise ConfigurationError(
                f"{key.start_mark.name}, line {key.start_mark.line + 1}: the key {key.value!r} stands here "
                "for the second time in one mapping; remove one of the two."
            )
        seen.add(key.value)
    return {str(key): value for key, value in loader.construct_mapping(node, deep=True).items()}


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def templates() -> dict[str, str]:
    """Return the shipped templates by name, with their texts."""
    folder = files(__package__.partition(".")[0] + ".configs")
    found = (entry for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    return {
        entry.name.removesuffix(".yaml"): entry.read_text() for entry in sorted(found, key=lambda e: e.name)
    }


def read_source(source: str | Path | Mapping[str, object]) -> tuple[Raw, str, Path]:
    """Read a description of a workflow.

    Returns
    -------
    raw, name, folder
        What is written, a name for it, and the folder that file names in it start from.

    Raises
    ------
    NotFoundError
        There is no such file or template.
    ConfigurationError
        It is not a mapping of plain values.
    """
    if isinstance(source, Mapping):
        return plain(source), "workflow", Path.cwd()
    path = Path(source)
    if path.is_file():
        try:
            text, name, folder = path.read_text(encoding="utf-8"), path.stem, path.resolve().parent
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{path}: a workflow must be UTF-8 text; {error}.") from error
    elif str(source) in (shipped := templates()):
        text, name, folder = shipped[str(source)], str(source), Path.cwd()
    else:
        unknown = UnknownNameError("template", str(source), shipped)
        raise NotFoundError(f"there is no workflow file {str(source)!r}, and it is an {unknown}")
    return parsed(text, str(source)), name, folder


def plain(written: Mapping[str, object]) -> Raw:
    """Return a copy in mappings, lists, texts, numbers and dates; raises `ConfigurationError` for others."""
    raw: Raw = msgspec.to_builtins(dict(written), builtin_types=(date,), str_keys=True, enc_hook=_builtin)
    return raw


def parsed(text: str, name: str) -> Raw:
    """Read YAML that holds a mapping; ``name`` is what messages call it.

    Raises
    ------
    ConfigurationError
        It is not valid YAML, not a mapping, or says something twice.
    """
    loader = _UniqueKeyLoader(text)
    loader.name = name
    try:
        raw = loader.get_single_data()
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{name}: not valid YAML; {error}") from error
    finally:
        loader.dispose()
    if not isinstance(raw, dict):
        raise ConfigurationError(
            f"{name}: a workflow must be a mapping with the key 'workflow', was {raw!r}."
        )
    return raw


def _builtin(value: object) -> object:
    if isinstance(value, Path | WrittenAsText):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    raise ConfigurationError(
        f"a workflow must consist of mappings, lists, texts, numbers and dates, found {value!r}."
    )
