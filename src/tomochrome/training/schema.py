"""Frozen dataclasses out of JSON: each field checked by its type hint, complaints by its name."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from tomochrome.errors import OptionError

T = TypeVar("T")
_IN_WORDS = {float: ("a number", "numbers"), int: ("a whole number", "whole numbers"),
             str: ("a text", "texts")}  # fmt: skip


def from_data(kind: type[T], data: object, source: str, place: str = "") -> T:
    """Return a ``kind``, a dataclass, of what JSON held.

    Parameters
    ----------
    kind
        The dataclass; of its fields numbers, texts, mappings, tuples of numbers and other such
        dataclasses are known.
    data
        What should be a mapping from names of fields to values.
    source
        What the data comes from, as a message is to name it.
    place
        Names of the fields that lead here, each with a dot behind it.

    Raises
    ------
    OptionError
        If a field is unknown, missing, or of another type.
    """
    if not isinstance(data, Mapping):
        raise OptionError(_unfit(source, place.rstrip("."), "named fields in { }", data))
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in data:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            advice = f"did you mean '{place}{near[0]}'?" if near else f"known: {', '.join(known)}"
            raise OptionError(f"{source} has a field '{place}{name}' that is not known; {advice}")
    hints = get_type_hints(kind)
    for field in fields(kind):  # type: ignore[arg-type]
        needed = field.default is MISSING and field.default_factory is MISSING
        if needed and field.name not in data:
            raise OptionError(f"{source} lacks the field '{place}{field.name}'; add it")
    return kind(**{k: _value(hints[k], v, source, f"{place}{k}") for k, v in data.items()})


def _value(hint: Any, value: object, source: str, name: str) -> Any:
    """Return a value as its type hint has it."""
    if isinstance(hint, types.UnionType):  # a type or None
        if value is None:
            return None
        hint = next(part for part in get_args(hint) if part is not type(None))
    if is_dataclass(hint):
        return from_data(hint, value, source, f"{name}.")  # type: ignore[arg-type]
    inner = get_args(hint)
    if get_origin(hint) is tuple:
        single = inner[0]
        several = isinstance(value, list | tuple) and len(value) == len(inner)
        if several and all(_is(single, item) for item in value):  # type: ignore[attr-defined]
            return tuple(single(item) for item in value)  # type: ignore[attr-defined]
        wanted = f"{len(inner)} {_IN_WORDS[single][1]} in [ ]"
        raise OptionError(_unfit(source, name, wanted, value))
    if get_origin(hint) is Mapping:
        if isinstance(value, Mapping):
            if inner[1] is Any:
                return value
            return {k: _value(inner[1], v, source, f"{name}.{k}") for k, v in value.items()}
        raise OptionError(_unfit(source, name, "named fields in { }", value))
    if not _is(hint, value):
        raise OptionError(_unfit(source, name, _IN_WORDS[hint][0], value))
    return hint(value)


def _is(hint: type, value: object) -> bool:
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and not isinstance(value, bool)


def _unfit(source: str, name: str, wanted: str, value: object) -> str:
    shown = repr(value)
    shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
    return f"in {source} '{name}' must be {wanted}, not {shown}"
