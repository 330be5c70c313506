"""Parameters that are attributes of a Gymnasium environment, with or without a MuJoCo model."""

from __future__ import annotations

import torch
from torch import Tensor

from metarl_envs.errors import InputError
from metarl_envs.gym_worlds.worlds import ATTRIBUTE
from metarl_envs.inputs.plain import as_annotated
from metarl_envs.parameters import Fields, ModelEffect, Parameter
from metarl_envs.robots.kinds import Robot, check_robot
from metarl_envs.vary.apply import How, Range, changed, described


def attribute(
    robot: Robot,
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
    check_robot(robot)
    if robot.source is None:
        raise InputError(
            f"vary.attribute of {robot.name}: must be a robot of gym_robot; a robot of MJCF varies "
            "by vary.mass, vary.gear, ..."
        )
    listed = (names,) if isinstance(names, str) else names
    given: tuple[str, ...] = as_annotated("names", listed, tuple[str, ...])
    if not given:
        raise InputError("names of vary.attribute = (): must name an attribute")
    fields = tuple(ATTRIBUTE + attribute for attribute in given)
    plain = [float(value) for value in robot.template_fields(fields).values()]
    owned = dict.fromkeys(fields, torch.tensor(0))

    def transform(own: Fields, value: Tensor) -> Fields:
        return changed(own, owned, value[:, None], how)

    effect = ModelEffect(fields, transform)
    what = ", ".join(given)
    return described(name or given[0], what, unit, plain, how, False, train, extrapolation, effect)
