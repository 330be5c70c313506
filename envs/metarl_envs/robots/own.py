"""A robot from an MJCF file of one's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import mujoco
import mujoco.batch
import torch
from torch import Tensor

from metarl_envs.camera import Camera, as_camera
from metarl_envs.elements import names
from metarl_envs.engines.cpu import CpuEngine
from metarl_envs.errors import InputError, unknown_name
from metarl_envs.numbers import real, whole
from metarl_envs.probe import PROBED, called, check_shape
from metarl_envs.robots.base import (
    MujocoRobot,
    ResetState,
    State,
    Transition,
    control_cost,
    forget_models,
    never,
    uniform_positions_normal_velocities,
)


def positions_and_velocities(state: State) -> Tensor:
    """All joint positions, then all velocities: (N, nq + nv)."""
    return torch.cat([state["qpos"], state["qvel"]], dim=1)


def control_effort(transition: Transition) -> Tensor:
    """|a|^2: (N,)."""
    return control_cost(transition, 1.0)


def mujoco_robot(
    xml: str | Path,
    *,
    frame_skip: int,
    observation: Callable[[State], Tensor] = positions_and_velocities,
    terminated: Callable[[Transition], Tensor] = never,
    quantities: Mapping[str, Callable[[Transition], Tensor]] | None = None,
    reset: ResetState | float = 0.01,
    outputs: Sequence[str] = (),
    remembered: Sequence[str] = ("qpos",),
    keyframe: str = "",
    camera: Camera | None = None,
    name: str = "",
) -> MujocoRobot:
    """The robot of an MJCF file.

    Args:
        xml: the file; in a Python file beside it, `Path(__file__).with_name("robot.xml")`.
        frame_skip: simulator steps per control step, >= 1.
        observation: what the policy reads, of named tensors with a leading axis N: -> (N, O).
        terminated: ends an episode: -> (N,) bool.
        quantities: named measures in SI units, such as "forward_velocity_m_per_s": -> (N,).
        reset: the scale of noise on initial positions and velocities, or what draws them.
        outputs: further fields of `mujoco.MjData` that the functions read, such as "xpos".
        remembered: fields whose values from before the step `transition.before` holds.
        keyframe: of the model, that episodes start around.
        camera: where pictures are taken from; None: beside what moves, see `Camera`.
        name: None: that of the file.

    Raises:
        InputError: for a missing or broken file, actuators without a control range, an unknown
            keyframe or output, an observation of another shape, or a camera on something that
            the model does not have.
    """
    path = Path(xml)
    forget_models()
    draft = MujocoRobot(
        name=name or path.stem.replace("_", "-"),
        xml=path,
        frame_skip=whole("frame_skip", frame_skip, least=1),
        observation=observation,
        observation_size=0,
        reset_state=reset
        if callable(reset)
        else uniform_positions_normal_velocities(real("reset", reset)),
        terminated=terminated,
        quantities=dict(quantities or {"control_effort": control_effort}),
        remembered=tuple(remembered),
        outputs=tuple(outputs),
        keyframe=keyframe,
        camera=as_camera(camera),
    )
    _check(draft)
    start = CpuEngine(draft.load_model(), PROBED, outputs=draft.outputs)
    start.reset(None, *(row.expand(PROBED, -1) for row in draft.initial_state()))
    observed = called(f"observation of {draft.name}", observation, start.data)
    check_shape(f"observation of {draft.name}", observed, (PROBED, None))
    return dataclasses.replace(draft, observation_size=observed.shape[1])


def _check(robot: MujocoRobot) -> None:
    """Refuse what would only fail, or mislead, much later."""
    model = robot.load_model()
    if model.nu == 0:
        raise InputError(f"model {robot.xml}: has no actuators, so there is nothing to learn")
    for actuator, name in names(model, "actuator").items():
        low, high = model.actuator_ctrlrange[actuator]
        if not low < high:
            raise InputError(
                f"model {robot.xml}: actuator '{name}' has no control range; give it one there, "
                'such as ctrlrange="-1 1"'
            )
    for output in robot.outputs:
        if output not in mujoco.batch.DATA_FIELDS:
            raise unknown_name("output", output, mujoco.batch.DATA_FIELDS)
    there = ("qpos", "qvel", "ctrl", "time", *robot.outputs)
    for field in robot.remembered:
        if field not in there:
            raise InputError(
                f"remembered = '{field}': allowed are {', '.join(there)}; add it to outputs"
            )
    keys = [model.key(i).name for i in range(model.nkey)]
    if robot.keyframe and robot.keyframe not in keys:
        raise unknown_name(f"keyframe of {robot.name}", robot.keyframe, keys)
    robot.camera.check(model)
