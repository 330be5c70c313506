"""Wind, in models of a medium that the robot moves through."""

from __future__ import annotations

from metarl_envs.errors import InputError
from metarl_envs.parameters import Parameter
from metarl_envs.robots.kinds import Robot, model_of
from metarl_envs.vary.apply import Range, changing, ranged


def wind(
    robot: Robot,
    train: Range,
    *,
    extrapolation: Range | None = None,
    name: str = "wind",
) -> Parameter:
    """Horizontal velocity (x, y) of the air or water, m/s, constant for an episode.

    The medium drags every body by its velocity relative to the wind (MuJoCo's documentation,
    "Fluid forces"). `distributions.Ring(0, 8)` is any direction at up to 8 m/s.

    Args:
        robot: whose model is changed.
        train: range, of each number or of the vector.
        extrapolation: values outside of `train`.
        name: of the parameter.

    Raises:
        InputError: for a model whose medium has neither density nor viscosity: no wind would move
            anything there.
    """
    model = model_of(robot)
    if model.opt.density == 0 and model.opt.viscosity == 0:
        raise InputError(
            f"{name}: the medium of {robot.name} has no density and no viscosity, so wind does not "
            'act; give the model some, such as <option density="1.2" viscosity="1.8e-5"/> for air'
        )
    effect = changing(model, [{"opt.wind": axis} for axis in range(2)], "set", each=True)
    nominal = [float(value) for value in model.opt.wind[:2]]
    return ranged(name, "m/s", "velocity of the medium", nominal, train, extrapolation, effect)
