"""Parameters that scale, add to or set those entries of model fields that named elements own."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import mujoco
import torch
from torch import Tensor

from metarl_envs.distributions import Distribution, Uniform, lowest
from metarl_envs.errors import InputError
from metarl_envs.inputs.numbers import shown, tensor
from metarl_envs.inputs.plain import as_annotated
from metarl_envs.mjcf.fields import read_field
from metarl_envs.mjcf.names import Patterns, texts
from metarl_envs.parameters import Effect, Fields, ModelEffect, Parameter

How = Literal["scale", "add", "set"]
"""`scale`: the model's value times the parameter; `add`: plus it; `set`: the parameter itself."""
Range = Distribution | tuple[float, float] | Sequence[tuple[float, float]]
"""A distribution, or (low, high) for a uniform one, or several of these: [(-2, -1), (1, 2)]."""
Entries = Mapping[str, Any]
"""The entries that one element owns: by model field, an index into the field's value."""
Owners = Mapping[str, Tensor]
"""The owner of each entry: by model field, the element's position 0 ... k - 1, or -1 for none."""
NEUTRAL = {"scale": 1.0, "add": 0.0}
WORDS = {"scale": "factor on", "add": "added to", "set": "new value of"}


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
                f"{next_high:g}) overlap: give one interval for both. A range holds for each entry "
                f"of a vector; if each entry has its own range, make them parameters, such as "
                f"{name}_x and {name}_y"
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


def check_not_negative(parameter: Parameter) -> None:
    """Refuse a factor below 0 on something that cannot be reversed.

    Raises:
        InputError: naming the range.
    """
    for distribution in parameter.supports:
        if lowest(distribution, parameter.shape) < 0:
            raise InputError(
                f"range of {parameter.name} = {distribution.describe()}: a factor on this must not "
                "be below 0"
            )


def check_how(name: str, unit: str, plain: Sequence[float], how: How, each: bool) -> None:
    """Refuse a change that is unknown, has no effect or has no single nominal value.

    Raises:
        InputError: for an unknown `how`, a factor on zeros, or one new value for several old ones.
    """
    if how not in get_args(How):
        raise InputError(f"{name}: how = '{how}': allowed are {', '.join(get_args(How))}")
    if how == "scale" and not any(plain):
        raise InputError(
            f"{name}: the model has 0 there, which no factor changes; give values in {unit} with "
            "how='set'"
        )
    if how == "set" and not each and len(set(plain)) > 1:
        listed = ", ".join(f"{value:g}" for value in dict.fromkeys(plain))
        raise InputError(
            f"{name}: the model has different values there ({listed}), so no single one is "
            "nominal; use how='scale', or each=True for one value per element"
        )


def described(
    name: str,
    what: str,
    unit: str,
    plain: Sequence[float],
    how: How,
    each: bool,
    train: Range,
    extrapolation: Range | None,
    effect: ModelEffect,
) -> Parameter:
    """A parameter with the unit, description and nominal value that follow from `how`.

    Args:
        name: of the parameter.
        what: is changed, for the description.
        unit: of the model's values.
        plain: the model's value, for each element.
        how: scale, add or set.
        each: one value per element instead of one for all.
        train, extrapolation: ranges.
        effect: on the model.

    Raises:
        InputError: see `check_how`.
    """
    check_how(name, unit, plain, how, each)
    nominal = [NEUTRAL.get(how, float(value)) for value in plain]
    return ranged(
        name,
        "1" if how == "scale" else unit,
        f"{WORDS[how]} {what}",
        nominal if each else nominal[0],
        train,
        extrapolation,
        effect,
    )


def changing(
    model: mujoco.MjModel, elements: Sequence[Entries], how: How, each: bool = False
) -> ModelEffect:
    """The effect that scales, adds to or sets the entries of k elements.

    Its value is (N,), for all elements, or with `each` (N, k).
    """
    owned = owners(model, elements)

    def transform(fields: Fields, value: Tensor) -> Fields:
        return changed(fields, owned, value if each else value[:, None], how)

    return ModelEffect(tuple(owned), transform)


def owners(model: mujoco.MjModel, elements: Sequence[Entries]) -> Owners:
    """The owner of each entry of the fields in which an element owns any."""
    found: dict[str, Tensor] = {}
    for position, entries in enumerate(elements):
        for field, index in entries.items():
            shape = read_field(model, field).shape
            found.setdefault(field, torch.full(shape, -1))[index] = position
    return found


def changed(fields: Fields, owned: Owners, values: Tensor, how: How) -> Fields:
    """Fields (N, ...) with every owned entry changed by its owner's value, of (N, k) or (N, 1)."""
    result: dict[str, Tensor] = {}
    for name, field in fields.items():
        owner = owned[name].to(field.device)
        value = values.to(field)[:, owner.clamp(0, values.shape[1] - 1)]
        new = {"scale": field * value, "add": field + value, "set": value}[how]
        result[name] = torch.where(owner >= 0, new, field)
    return result
