"""A task family from an existing Gymnasium environment, whose source stays as it is."""

from __future__ import annotations

import dataclasses
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box
from torch import Tensor

from metarl_envs.builders.from_mjcf import control_effort
from metarl_envs.errors import InputError
from metarl_envs.family import TaskFamily
from metarl_envs.gym_worlds.bundle import Row
from metarl_envs.gym_worlds.calls import OWN, ask
from metarl_envs.gym_worlds.mujoco_data import (
    Simulation,
    clocks,
    paths_of_data,
    simulation_at,
    single,
)
from metarl_envs.gym_worlds.worlds import Source, World, opened
from metarl_envs.inputs.naming import family_name
from metarl_envs.inputs.numbers import real, shown
from metarl_envs.inputs.own_file import file_of, running_file
from metarl_envs.inputs.plain import as_annotated
from metarl_envs.parameters import Parameter
from metarl_envs.robots.base import Transition
from metarl_envs.robots.gym import GymRobot, own_reward
from metarl_envs.scene.camera import Camera, as_camera

SCALARS = ("reward", "terminated", "truncated", "faults")
TAKEN = (*SCALARS, "observation", "qpos", "qvel", "ctrl")
"""Names of the values that every world reports."""
OURS = {
    "max_episode_steps": "give horizon= to family_from_gym",
    "disable_env_checker": "leave it out, the checker is not used",
}
"""Arguments of `gymnasium.make` that this package sets itself, and what to do instead."""


def gym_robot(
    env_id: str,
    *,
    infos: Sequence[str] = (),
    dt_s: float | None = None,
    camera: Camera | None = None,
    **kwargs: Any,  # noqa: ANN401 - gymnasium.make's
) -> GymRobot:
    """A Gymnasium environment as a robot, to be given to `vary` and `family_from_gym`.

    It is made, reset and stepped once, so that its errors are raised here. One that holds a
    `mujoco.MjData`, under whatever name, counts as simulated by MuJoCo: its bodies, joints and
    actuators can vary.

    Args:
        env_id: Gymnasium's id, such as "Ant-v5", or "module:Id-v0", which imports the module first.
            An id that is registered under `if __name__ == "__main__":` or in an interactive session
            is unknown to worker processes (`sim_threads` above 1); one that your family's own file
            registers is known.
        infos: numbers in `info` that rewards and quantities read, such as "x_velocity"; they must
            be there after every step.
        dt_s: seconds per step; None: the environment's own `dt`, or what MuJoCo's clock takes, or
            1 / `metadata["render_fps"]`, or 1 where nothing says so.
        camera: where pictures of a MuJoCo environment are taken from; None: beside what moves.
        kwargs: for `gymnasium.make`.

    Raises:
        InputError: for an environment that cannot be made or stepped, does not return what
            Gymnasium's interface says, or has spaces other than Box (of observations also a Dict
            of them, laid out in the order of its keys); for a camera on something that
            its model does not have.
    """
    env_id = as_annotated("env_id", env_id, str)
    infos = _info_keys(infos)
    for taken in OURS.keys() & kwargs:
        raise InputError(f"{taken} of gym_robot: {OURS[taken]}")
    source = _source(env_id, kwargs)
    with opened(source) as world:
        observations, actions = world.asked.observation_space, world.asked.action_space
        if not isinstance(observations, Box):
            raise InputError(
                f"{env_id}: observation space {observations}: must be a Box; register it with "
                "gymnasium.wrappers.FlattenObservation around it"
            )
        if not isinstance(actions, Box) or not np.isfinite([actions.low, actions.high]).all():
            raise InputError(f"{env_id}: action space {actions}: must be a Box with finite bounds")
        for what, space in (("observation", observations), ("action", actions)):
            if 0 in space.shape:
                raise InputError(f"{env_id}: {what} space {space}: must hold at least one number")
        tried = _tried(world, actions, infos, None if dt_s is None else _seconds("dt_s", dt_s))
        source = dataclasses.replace(source, data=tried.data)
        sizes = {
            "observation": int(np.prod(observations.shape)),
            **dict.fromkeys((*SCALARS, *infos), 1),
        }
        if tried.simulation is not None:
            model = tried.simulation.model
            sizes |= {"qpos": model.nq, "qvel": model.nv}
            as_camera(camera).check(model)
        elif camera is not None:
            raise InputError(f"camera: {env_id} has no MuJoCo model; leave it out")
        elif "rgb_array" in world.metadata.get("render_modes", ()):  # it draws itself
            source = dataclasses.replace(source, kwargs={"render_mode": "rgb_array"} | kwargs)
        return GymRobot(
            name=env_id,
            env_id=env_id,
            source=source,
            row=Row(sizes),
            infos=infos,
            low=tuple(actions.low.flatten().tolist()),
            high=tuple(actions.high.flatten().tolist()),
            dt_s=tried.dt_s,
            camera=as_camera(camera),
            quantities={key: _info(key) for key in infos} or {"control_effort": control_effort},
            time_limit=_spec(world.env).max_episode_steps,
            no_model=tried.no_model,
        )


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
        quantity: the info that shows what the return means, such as "x_velocity".

    Raises:
        InputError: for an environment or parameter that cannot be used, or without a horizon.
    """
    robot = gym_robot(robot) if isinstance(robot, str) else robot
    if not isinstance(robot, GymRobot):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(
            f"robot = {shown(robot)}: must be an environment's id, or made by gym_robot"
        )
    steps = horizon if horizon is not None else robot.time_limit
    if steps is None:
        raise InputError(f"{robot.env_id} has no time limit: give horizon=")
    if isinstance(parameters, Parameter):
        raise InputError(f"parameters = {parameters.name}: must be several, in a list: [...]")
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


def _source(env_id: str, kwargs: Mapping[str, Any]) -> Source:
    """The arguments that make an environment here, and in a worker process."""
    spec = gymnasium.registry.get(env_id)
    entry = None if spec is None else spec.entry_point
    if isinstance(entry, str):
        module = sys.modules.get(entry.partition(":")[0])
    else:
        module = inspect.getmodule(entry)
    file = running_file() or file_of(module)
    return Source(env_id, dict(kwargs), file, "" if module is None else module.__name__)


@dataclass(frozen=True)
class _Tried:
    """Facts that an environment shows in its first step."""

    data: str
    """The attribute that holds its `MjData`."""
    simulation: Simulation | None
    no_model: str
    dt_s: float


def _tried(world: World, actions: Box, infos: tuple[str, ...], dt_s: float | None) -> _Tried:
    """Try one step, which raises errors early; find the MuJoCo simulation in it, and dt."""
    env, no_model, path, simulated_s = world.env, "", "", 0.0
    world.reset(0)
    paths = paths_of_data(env)
    before = clocks(env, paths)
    middle = (actions.low.astype(np.float64) + actions.high) / 2
    world.asked.infos(world.step(middle.flatten()), infos)
    passed = dict(zip(paths, np.array(clocks(env, paths)) - before, strict=True))
    try:
        path = single(env, [p for p in paths if passed[p] > 0] or paths) if paths else ""
    except InputError as error:
        no_model = str(error)
    simulation = simulation_at(env, path) if path else None
    if simulation is not None:
        timestep = float(simulation.model.opt.timestep)
        simulated_s = timestep * round(passed[path] / timestep)  # without rounding errors of sums
    return _Tried(path, simulation, no_model, dt_s or _dt(world, simulation, simulated_s))


def _dt(world: World, simulation: Simulation | None, simulated_s: float) -> float:
    """Seconds per step: the environment's `dt`, what MuJoCo took, or one frame of its video."""
    env = world.env.unwrapped
    own = ask(f"environment {world.name}: dt", OWN, getattr, env, "dt", None)
    try:
        given = real("dt", own)
    except InputError:  # a method, or nothing
        given = None
    if given is not None:
        dt_s = _seconds(f"dt of {world.name}", given)
        # Where MuJoCo's clock says otherwise, `dt` is that of a substep, or of something else.
        return dt_s if simulated_s <= 0 or math.isclose(dt_s, simulated_s) else simulated_s
    if simulated_s > 0:
        return simulated_s
    frames = world.metadata.get("render_fps")
    if frames is None and simulation is not None:
        raise InputError(
            f"environment {world.name} does not say how long its steps are (`dt`, or "
            "metadata['render_fps']), and its MuJoCo clock stands still: give dt_s= to gym_robot"
        )
    return 1 / _seconds(f"metadata['render_fps'] of {world.name}", 1 if frames is None else frames)


def _seconds(name: str, given: Any) -> float:  # noqa: ANN401 - any type
    try:
        value = real(name, given)
    except InputError as error:
        raise InputError(f"{error}; give dt_s= to gym_robot, in seconds") from None
    if value <= 0:
        raise InputError(f"{name} = {value:g}: must be greater than 0; give dt_s= to gym_robot")
    return value


def _spec(env: gymnasium.Env[Any, Any]) -> EnvSpec:
    """The specification under which the environment is registered."""
    spec = env.unwrapped.spec
    assert spec is not None  # gymnasium.make sets it
    return gymnasium.spec(spec.id)


def _info_keys(infos: Any) -> tuple[str, ...]:  # noqa: ANN401 - any type
    keys = as_annotated("infos", infos, tuple[str, ...])
    for key in keys:
        if key in TAKEN or keys.count(key) > 1:
            raise InputError(f"infos = {keys}: {key!r} is there already; leave it out")
    return keys


def _info(key: str) -> Callable[[Transition], Tensor]:
    def read(transition: Transition) -> Tensor:
        return transition.after[key].clone()

    return read
