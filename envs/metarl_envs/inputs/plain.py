"""Dataclasses that convert their fields to the plain types of their annotations."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import Any, Literal

import numpy as np
from torch import Tensor

from metarl_envs.errors import InputError
from metarl_envs.inputs.numbers import Range, real, shown, whole


class PlainFields:
    """Base of dataclasses whose fields are turned into plain values when one is made.

    A class's own `__post_init__` runs after that, so its checks see plain values only. JSON files,
    checksums and MuJoCo need plain values.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check = vars(cls).get("__post_init__")
        if check is None:
            return

        def convert_and_check(self: PlainFields) -> None:
            _convert_fields(self)
            check(self)

        cls.__post_init__ = convert_and_check

    def __post_init__(self) -> None:
        _convert_fields(self)


def as_annotated(name: str, value: Any, hint: Any) -> Any:  # noqa: ANN401 - any type
    """A value as its annotation has it: numbers, truth values, texts, and tuples of these.

    Values with other annotations stay as they are. `Annotated` with a `Range`, a number is in it.

    Args:
        name: of the field, for the error.
        value: as it was given.
        hint: the annotation, such as `tuple[float, ...] | None`.

    Raises:
        InputError: naming field, value and what is allowed.
    """
    kind = typing.get_origin(hint) or hint
    if kind is typing.Annotated:
        plain, *extras = typing.get_args(hint)
        value = as_annotated(name, value, plain)
        for extra in extras:
            if isinstance(extra, Range):
                extra.check(name, value)
        return value
    if kind is int:
        return whole(name, value)
    if kind is float:
        return real(name, value)
    if kind is bool:
        return _truth(name, value)
    if kind is str:
        return _text(name, value)
    if kind is Literal:
        return _option(name, value, typing.get_args(hint))
    if kind is tuple:
        return _tuple(name, value, typing.get_args(hint))
    if kind in (typing.Union, types.UnionType):
        return _one_of(name, value, typing.get_args(hint))
    return value


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def _convert_fields(instance: Any) -> None:  # noqa: ANN401 - any dataclass
    hints = _hints(type(instance))
    for field in dataclasses.fields(instance):
        value = as_annotated(field.name, getattr(instance, field.name), hints[field.name])
        object.__setattr__(instance, field.name, value)  # frozen, but not yet in anyone's hands


def _truth(name: str, value: Any) -> bool:  # noqa: ANN401 - any type
    held = [value]
    if isinstance(value, np.generic | np.ndarray | Tensor):
        held = value.reshape(-1).tolist()
    if len(held) != 1 or type(held[0]) is not bool:
        raise InputError(f"{name} = {shown(value)}: must be True or False")
    return held[0]


def _text(name: str, value: Any) -> str:  # noqa: ANN401 - any type
    if not isinstance(value, str):
        raise InputError(f"{name} = {shown(value)}: must be a text")
    return str(value)


def _option(name: str, value: Any, allowed: tuple[Any, ...]) -> Any:  # noqa: ANN401 - any type
    for option in allowed:
        if type(option) is str and isinstance(value, str) and value == option:
            return option
    raise InputError(f"{name} = {shown(value)}: allowed are {', '.join(map(str, allowed))}")


def _tuple(name: str, value: Any, items: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: ANN401
    """One item for each entry, or the first for all of them: tuple[item, ...]."""
    try:
        entries = None if isinstance(value, str | bytes) else tuple(value)
    except TypeError:
        entries = None
    if entries is None:
        raise InputError(f"{name} = {shown(value)}: must be a list or a tuple")
    if items[-1] is Ellipsis:
        items = items[:1] * len(entries)
    if len(entries) != len(items):
        raise InputError(f"{name} = {shown(value)}: must have {len(items)} entries")
    return tuple(as_annotated(f"{name}[{i}]", entries[i], item) for i, item in enumerate(items))


def _one_of(name: str, value: Any, options: tuple[Any, ...]) -> Any:  # noqa: ANN401 - any type
    """A row as the tuple among the options, anything else as the first of the others.

    A row of one number stays a row: it is the value of a parameter with one entry.
    """
    if value is None and types.NoneType in options:
        return None
    is_row = isinstance(value, (list, tuple)) or (
        isinstance(value, (np.ndarray, Tensor)) and value.ndim > 0
    )
    options = tuple(option for option in options if option is not types.NoneType)
    fitting = [option for option in options if is_row == (typing.get_origin(option) is tuple)]
    return as_annotated(name, value, (fitting or options)[0])
