"""Parameters of tendons. Arguments are those of `metarl_envs.vary.bodies`.

A tendon pulls along its length: of a spatial one, of its path, in m; of a fixed one, the sum of its
joints' positions times their coefficients. Names are of the tendons themselves.
"""

from __future__ import annotations

from typing import Protocol

from metarl_envs.errors import InputError
from metarl_envs.mjcf.names import Patterns, find, listed
from metarl_envs.parameters import Parameter
from metarl_envs.robots.kinds import Robot, model_of
from metarl_envs.vary.apply import (
    How,
    Range,
    changing,
    check_not_negative,
    described,
    name_from,
    ranged,
)


class VaryTendons(Protocol):
    """A function that makes a parameter of tendons."""

    def __call__(
        self,
        robot: Robot,
        names: Patterns,
        train: Range,
        *,
        how: How = "scale",
        each: bool = False,
        extrapolation: Range | None = None,
        name: str | None = None,
    ) -> Parameter:
        """The parameter."""
        ...


def _of_tendons(
    function: str, fields: tuple[str, ...], what: str, unit: str, doc: str
) -> VaryTendons:
    """The function of this name and docstring, for model fields of tendons.

    A factor is on all of the fields; `add` and `set` are on the first.
    """

    def vary(
        robot: Robot,
        names: Patterns,
        train: Range,
        *,
        how: How = "scale",
        each: bool = False,
        extrapolation: Range | None = None,
        name: str | None = None,
    ) -> Parameter:
        model = model_of(robot)
        tendons = find(model, "tendon", names)
        name = name or name_from(names, function.removeprefix("tendon_"))
        changed = fields if how == "scale" else fields[:1]
        values = [[getattr(model, field)[tendon] for field in changed] for tendon in tendons]
        plain = [float(row[0]) for row in values]
        if how == "scale":
            for tendon, row in zip(tendons, values, strict=True):
                if not any(value.any() for value in row):
                    raise InputError(
                        f"{name}: tendon '{model.tendon(tendon).name}' has no {what} in the model, "
                        f"which no factor changes; give values in {unit} with how='set', or leave "
                        "it out"
                    )
            plain = [1.0] * len(tendons)  # the linear part may be 0
        return described(
            name,
            f"{what} of {listed(model, 'tendon', names)}",
            unit,
            plain,
            how,
            each,
            train,
            extrapolation,
            changing(model, [dict.fromkeys(changed, tendon) for tendon in tendons], how, each),
        )

    vary.__name__ = vary.__qualname__ = function
    vary.__doc__ = doc
    return vary


tendon_stiffness = _of_tendons(
    "tendon_stiffness",
    ("tendon_stiffness", "tendon_stiffnesspoly"),
    "stiffness",
    "N/m or N m/rad",
    """Stiffness k of tendons, N/m or N m/rad: force = -k (length - springlength).

    Where `springlength` is a range, there is no force within it. It stays. Of a stiffness with
    terms of higher order a factor is on all of them; `add` and `set` are on k.

    Raises:
        InputError: for a factor on a tendon without stiffness.
    """,
)
tendon_damping = _of_tendons(
    "tendon_damping",
    ("tendon_damping", "tendon_dampingpoly"),
    "damping",
    "N s/m or N m s/rad",
    """Damping of tendons, N s/m or N m s/rad: force = -damping * speed of the length.

    Of a damping with terms of higher order a factor is on all of them; `add` and `set` are on the
    linear one.

    Raises:
        InputError: for a factor on a tendon without damping.
    """,
)
tendon_friction_loss = _of_tendons(
    "tendon_friction_loss",
    ("tendon_frictionloss",),
    "dry friction",
    "N or N m",
    """Dry friction of tendons, N or N m: the largest force that it takes to hold the length still.

    Raises:
        InputError: for a factor on a tendon without dry friction.
    """,
)


def tendon_range(
    robot: Robot,
    names: Patterns,
    train: Range,
    *,
    each: bool = False,
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """Factor on the shortest and longest length of tendons; at least 0.

    With a factor 1.1 a rope of at most 0.5 m is one of 0.55 m.

    Raises:
        InputError: for tendons without limits.
    """
    model = model_of(robot)
    tendons = find(model, "tendon", names)
    name = name or name_from(names, "range")
    for tendon in tendons:
        if not model.tendon_limited[tendon]:
            raise InputError(
                f"{name}: tendon '{model.tendon(tendon).name}' has no limits in the model; give it "
                "a range there, or leave it out"
            )
    effect = changing(model, [{"tendon_range": tendon} for tendon in tendons], "scale", each)
    nominal = (1.0,) * len(tendons) if each else 1.0
    what = f"factor on limits of {listed(model, 'tendon', names)}"
    made = ranged(name, "1", what, nominal, train, extrapolation, effect)
    check_not_negative(made)
    return made
