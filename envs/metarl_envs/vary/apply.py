"""How a parameter changes chosen entries of model fields: by a factor, a sum, or a new value."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from metarl_envs.distributions import Distribution, Uniform, lowest
from metarl_envs.errors import InputError
from metarl_envs.inputs.numbers import shown, tensor
from metarl_envs.inputs.plain import as_annotated
from metarl_envs.mjcf.names import Patterns, texts
from metarl_envs.parameters import Effect, Fields, ModelEffect, Parameter

How = Literal["scale", "add", "set"]
"""`scale`: the model's value times the parameter; `add`: plus it; `set`: the parameter itself."""
Range = Distribution | tuple[float, float] | Sequence[tuple[float, float]]
"""A distribution, or (low, high) for a uniform one, or several of these: [(-2, -1), (1, 2)]."""
Transform = Callable[[Fields, Tensor], Fields]
NEUTRAL = {"scale": 1.0, "add": 0.0}
WORDS = {"scale": "factor on", "add": "added to", "set": "new value of"}


@dataclass(frozen=True)
class Entries:
    """The entries of one model field that named elements own."""

    groups: Sequence[Sequence[int]]
    """For each element, its indices along the field's first axis."""
    values: Sequence[float]
    """For each element, the model's value."""
    column: int | None = None
    """The entry along the field's last axis; None: all of them."""


def distribution(given: Range, name: str) -> Distribution:
    """The distribution that a range means.

    Raises:
        InputError: for anything else than a distribution, (low, high), or several of these that
            do not overlap.
    """
    if isinstance(given, Distribution):
        return given
    intervals = _intervals(given)
    if intervals is None or not all(-math.inf < low < high < math.inf for low, high in intervals):
        raise InputError(
            f"range of {name} = {shown(given)}: must be (low, high) with low < high, or several of "
            "these, such as [(0.5, 0.7), (1.3, 1.5)]"
        )
    intervals = sorted(intervals)
    for (low, high), (next_low, next_high) in itertools.pairwise(intervals):
        if next_low < high:
            raise InputError(
                f"range of {name} = {shown(given)}: ({low:g}, {high:g}) and ({next_low:g}, "
                f"{next_high:g}) overlap, and what they share would be drawn twice as often; "
                "give one interval for both. A range holds for each entry of a vector: where each "
                f"has its own, make them parameters, such as {name}_x and {name}_y"
            )
    return Uniform(tuple(intervals))


def _intervals(given: object) -> list[tuple[float, float]] | None:
    """[(low, high), ...] from one pair or several; None if it is neither."""
    try:
        bounds = tensor("range", given)
    except InputError:
        return None
    if bounds.numel() == 0 or bounds.dim() not in (1, 2) or bounds.shape[-1] != 2:
        return None
    return [(low, high) for low, high in bounds.reshape(-1, 2).tolist()]


def name_from(patterns: Patterns, ending: str) -> str:
    """A parameter's name from what it changes: ("swing*", "damping") -> "swing_damping"."""
    return re.sub(r"[\W_]+", "_", "_".join([*texts(patterns), ending])).strip("_")


def ranged(
    name: str,
    unit: str,
    description: str,
    nominal: float | Sequence[float],
    train: Range,
    extrapolation: Range | None,
    effect: Effect | None,
) -> Parameter:
    """A parameter whose ranges are given as `Range`."""
    return Parameter(
        name=name,
        unit=unit,
        description=description,
        nominal=as_annotated(f"nominal of {name}", nominal, float | tuple[float, ...]),
        train=distribution(train, name),
        extrapolation=None if extrapolation is None else distribution(extrapolation, name),
        effect=effect,
    )


def changed(
    name: str,
    what: str,
    unit: str,
    field: str,
    entries: Entries,
    how: How,
    train: Range,
    extrapolation: Range | None,
    each: bool,
) -> Parameter:
    """A parameter that changes entries of one model field.

    Args:
        name: the parameter's.
        what: is changed, in words.
        unit: of the model's values.
        field: the model field.
        entries: which of it.
        how: in which way.
        train: range.
        extrapolation: range.
        each: one value per element instead of one for all.

    Raises:
        InputError: see `check_how`.
    """
    check_how(name, unit, entries.values, how, each)
    nominal = nominal_of(entries.values, how)
    effect = ModelEffect((field,), changes(entries, how, each))
    unit = "1" if how == "scale" else unit
    described = f"{WORDS[how]} {what}"
    return ranged(
        name, unit, described, nominal if each else nominal[0], train, extrapolation, effect
    )


def check_not_negative(parameter: Parameter) -> None:
    """Refuse a factor below 0 where it means nothing.

    Raises:
        InputError: naming the range.
    """
    for distribution in parameter.supports:
        if lowest(distribution, parameter.shape) < 0:
            raise InputError(
                f"range of {parameter.name} = {distribution.describe()}: a factor on this must not "
                "be below 0"
            )


def check_how(name: str, unit: str, values: Sequence[float], how: How, each: bool) -> None:
    """Refuse a change that is unknown, does nothing or hides what the model had.

    Raises:
        InputError: for an unknown `how`, a factor on zeros, or one new value for several old ones.
    """
    if how not in get_args(How):
        raise InputError(f"{name}: how = '{how}': allowed are {', '.join(get_args(How))}")
    if how == "scale" and not any(values):
        raise InputError(
            f"{name}: the model has 0 there, which no factor changes; give values in {unit} with "
            "how='set'"
        )
    if how == "set" and not each and len(set(values)) > 1:
        listed = ", ".join(f"{value:g}" for value in dict.fromkeys(values))
        raise InputError(
            f"{name}: the model has different values there ({listed}), so no single one is "
            "nominal; use how='scale', or each=True for one value per element"
        )


def nominal_of(values: Sequence[float], how: How) -> list[float]:
    """The parameter's value for each element at which the model stays as it is."""
    return [NEUTRAL.get(how, float(value)) for value in values]


def per_entry(value: Tensor, groups: Sequence[Sequence[int]], each: bool) -> Tensor:
    """The parameter's value for every index in `groups`: (N,) or (N, k) -> (N, m)."""
    if not each:
        return value.reshape(len(value), 1).expand(-1, sum(map(len, groups)))
    return value[:, [row for row, group in enumerate(groups) for _ in group]]


def apply(field: Tensor, value: Tensor, how: How) -> Tensor:
    """Entries (N, m, ...) changed by values (N, m)."""
    value = value.to(field).reshape(*value.shape, *([1] * (field.dim() - 2))).expand_as(field)
    return {"scale": field * value, "add": field + value, "set": value}[how]


def changes(entries: Entries, how: How, each: bool) -> Transform:
    """The transform of a `ModelEffect` that changes these entries."""
    index = [i for group in entries.groups for i in group]

    def transform(fields: Fields, value: Tensor) -> Fields:
        values = per_entry(value, entries.groups, each)
        changed = {}
        for name, field in fields.items():
            whole = field.clone()
            if entries.column is None:
                whole[:, index] = apply(whole[:, index], values, how)
            else:
                chosen = whole[:, index, entries.column]
                whole[:, index, entries.column] = apply(chosen, values, how)
            changed[name] = whole
        return changed

    return transform
