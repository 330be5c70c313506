"""What varies in any Gymnasium environment, with or without a MuJoCo model: its attributes."""

from __future__ import annotations

from torch import Tensor

from metarl_envs.errors import InputError
from metarl_envs.gym_worlds.worlds import ATTRIBUTE
from metarl_envs.inputs.plain import as_annotated
from metarl_envs.parameters import Fields, ModelEffect, Parameter
from metarl_envs.robots.gym import GymRobot
from metarl_envs.vary.apply import WORDS, How, Range, apply, check_how, nominal_of, ranged


def attribute(
    robot: GymRobot,
    names: str | tuple[str, ...],
    train: Range,
    *,
    how: How = "scale",
    unit: str = "1",
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """A number that the environment keeps as an attribute, such as "m" of Pendulum-v1.

    What the environment derived from it when it was made stays as it was, so name that, too. Its
    dynamics may read it, or its own reward.

    Args:
        robot: whose environment it is.
        names: the attribute, or several that change alike.
        train: range.
        how: `scale` the environment's value, `add` to it or `set` it anew.
        unit: of the attribute, where it is not a factor.
        extrapolation: values outside of `train`.
        name: of the parameter; None: the first attribute's.

    Raises:
        InputError: for an attribute that is missing or no number, with the nearest names.
    """
    if not isinstance(robot, GymRobot):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(
            f"vary.attribute of {type(robot).__name__}: is for what gym_robot made; a robot of "
            "MJCF varies by vary.mass, vary.gear, ..."
        )
    listed = (names,) if isinstance(names, str) else names
    given: tuple[str, ...] = as_annotated("names", listed, tuple[str, ...])
    if not given:
        raise InputError("names of vary.attribute = (): must name an attribute")
    fields = tuple(ATTRIBUTE + attribute for attribute in given)
    plain = [float(value) for value in robot.template_fields(fields).values()]
    name = name or given[0]
    check_how(name, unit, plain, how, each=False)

    def transform(own: Fields, value: Tensor) -> Fields:
        return {
            n: apply(field.unsqueeze(1), value.unsqueeze(1), how)[:, 0] for n, field in own.items()
        }

    return ranged(
        name,
        "1" if how == "scale" else unit,
        f"{WORDS[how]} {', '.join(given)}",
        nominal_of(plain, how)[0],
        train,
        extrapolation,
        ModelEffect(fields, transform),
    )
