"""The randomised-dynamics family of a walking robot, after rand_param_envs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from metarl_envs import vary
from metarl_envs.distributions import LogUniform
from metarl_envs.family import TaskFamily
from metarl_envs.robots.base import MujocoRobot, Transition

_SOURCE = (
    "{title}RandParams of rand_param_envs, the benchmark of ProMP (Rothfuss et al. 2019), PEARL "
    "(Rakelly et al. 2019) and VariBAD (Zintgraf et al. 2020): masses 1.5^U(-3, 3) per body, "
    "joint damping 1.3^U(-3, 3) per joint, friction 1.5^U(-3, 3) per geom, floor included; reward "
    "= v + 1 while healthy - 0.001 |a|^2, 200 steps. Differs: inertia scales with its body's mass "
    "(there by independent factors per axis, which need not be a possible body) and derived "
    "constants are refreshed; model, observation and termination are those of {title}-v5, with dt "
    "0.008 s (there 0.016 s). Extrapolation: every exponent in [-4, -3] or [3, 4]."
)


def rand_params_family(
    robot: MujocoRobot,
    title: str,
    reward: Callable[[Transition], Tensor],
    *,
    bodies: Sequence[str],
    joints: Sequence[str],
    geoms: Sequence[str],
) -> TaskFamily:
    """The family `<robot>-dynamics`; the world body and undamped root joints do not vary."""
    parameters = [
        make(
            robot,
            names,
            LogUniform(base, ((-3.0, 3.0),)),
            each=True,
            extrapolation=LogUniform(base, ((-4.0, -3.0), (3.0, 4.0))),
            name=name,
        )
        for make, names, base, name in (
            (vary.mass, bodies, 1.5, "mass_scale"),
            (vary.damping, joints, 1.3, "damping_scale"),
            (vary.friction, geoms, 1.5, "friction_scale"),
        )
    ]
    return TaskFamily(
        name=f"{robot.name}-dynamics",
        robot=robot,
        parameters=tuple(parameters),
        reward=reward,
        horizon=200,
        quantity="forward_velocity_m_per_s",
        source=_SOURCE.format(title=title),
    )
