"""A task family from an existing Gymnasium environment, whose source stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from torch import Tensor

from metarl_envs.errors import InputError
from metarl_envs.family import TaskFamily
from metarl_envs.gym_worlds import Row, make_world, model_of
from metarl_envs.naming import family_name
from metarl_envs.numbers import is_number, real
from metarl_envs.parameters import Parameter
from metarl_envs.robots.base import Camera, Transition
from metarl_envs.robots.gym import GymRobot, own_reward
from metarl_envs.robots.own import control_effort


def gym_robot(
    env_id: str,
    *,
    infos: Sequence[str] = (),
    dt_s: float | None = None,
    **kwargs: Any,  # noqa: ANN401 - gymnasium.make's
) -> GymRobot:
    """A Gymnasium environment as a robot, to be given to `vary` and `family_from_gym`.

    Args:
        env_id: Gymnasium's id, such as "Ant-v5". One that your own file registers is unknown to
            other processes: give "package:Id-v0", which imports the package first, or one process.
        infos: numbers in `info` that rewards and quantities read, such as "x_velocity".
        dt_s: seconds per step; None: the environment's own.
        kwargs: for `gymnasium.make`.

    Raises:
        InputError: for an environment that cannot be made, or spaces other than Box.
    """
    try:
        env = make_world(env_id, kwargs)
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise InputError(f"{env_id}: {' '.join(str(error).split())}") from None
    try:
        observations, actions = env.observation_space, env.action_space
        if not isinstance(observations, Box):
            raise InputError(
                f"{env_id}: observation space {observations}: must be a Box; register it with "
                "gymnasium.wrappers.FlattenObservation around it"
            )
        if not isinstance(actions, Box) or not np.isfinite([actions.low, actions.high]).all():
            raise InputError(f"{env_id}: action space {actions}: must be a Box with finite bounds")
        model = model_of(env)
        sizes = {
            "observation": int(np.prod(observations.shape)),
            **dict.fromkeys(("reward", "terminated", "truncated", "faults", *infos), 1),
        }
        camera = Camera()
        if model is not None:
            sizes |= {"qpos": model.nq, "qvel": model.nv}
            extent, height = float(model.stat.extent), float(model.stat.center[2])
            camera = Camera(distance_m=min(2 * extent, 6.0), height_m=min(max(height, 0.0), 1.0))
        return GymRobot(
            name=env_id,
            env_id=env_id,
            env_kwargs=dict(kwargs),
            row=Row(sizes),
            infos=tuple(infos),
            low=tuple(actions.low.flatten().tolist()),
            high=tuple(actions.high.flatten().tolist()),
            dt_s=_dt(env) if dt_s is None else dt_s,
            camera=camera,
            quantities={key: _info(key) for key in infos} or {"control_effort": control_effort},
        )
    finally:
        env.close()


def family_from_gym(
    robot: str | GymRobot,
    parameters: Sequence[Parameter] | Callable[[GymRobot], Sequence[Parameter]],
    *,
    name: str = "",
    horizon: int | None = None,
    reward: Callable[[Transition], Tensor] = own_reward,
    terminated: Callable[[Transition], Tensor] | None = None,
    quantity: str = "",
) -> TaskFamily:
    """A family of an unmodified environment: `family_from_gym("Ant-v5", parameters)`.

    Its worlds are stepped one by one, so it is far slower than a robot of MJCF and tensor
    functions (`mujoco_robot`); everything else is the same. `sim_threads` are processes here.

    Args:
        robot: Gymnasium's id, or what `gym_robot` made.
        parameters: what varies, or a function that makes it for the robot.
        name: None: from the id, "Ant-v5" -> "ant-v5".
        horizon: steps per episode; None: the environment's time limit.
        reward: of `transition.after["reward"]`, `["observation"]` and the infos; None: its own.
        terminated: ends an episode; None: the environment's own rule.
        quantity: the info that tells a person what the return means.

    Raises:
        InputError: for an environment or parameter that cannot be used, or without a horizon.
    """
    robot = gym_robot(robot) if isinstance(robot, str) else robot
    spec = gymnasium.spec(robot.env_id)
    steps = horizon if horizon is not None else spec.max_episode_steps
    if steps is None:
        raise InputError(f"{robot.env_id} has no time limit: give horizon=")
    return TaskFamily(
        name=name or family_name(robot.env_id.rpartition(":")[2]),
        robot=robot,
        parameters=tuple(parameters(robot) if callable(parameters) else parameters),
        reward=reward,
        terminated=terminated,
        horizon=steps,
        quantity=quantity,
        source=f"gymnasium.make({robot.env_id!r}), unmodified but for what varies.",
    )


def _dt(env: gymnasium.Env[Any, Any]) -> float:
    """Seconds per step: the environment's `dt`, or one frame of its video."""
    if model_of(env) is not None:
        return float(env.unwrapped.dt)  # pyright: ignore[reportAttributeAccessIssue]  # a MujocoEnv
    own = vars(env.unwrapped).get("dt")
    return real("dt", own) if is_number(own) else 1 / env.metadata.get("render_fps", 1)


def _info(key: str) -> Callable[[Transition], Tensor]:
    def read(transition: Transition) -> Tensor:
        return transition.after[key].clone()

    return read
