"""Robots from MJCF files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import mujoco
import torch
from torch import Generator, Tensor

from metarl_envs.builders.menagerie import menagerie_file, menagerie_name
from metarl_envs.engines.cpu import CpuEngine
from metarl_envs.errors import InputError, unknown_name
from metarl_envs.inputs.numbers import INT, real, whole
from metarl_envs.inputs.user_functions import PROBED, called, check_shape
from metarl_envs.robots.actions import Controls, with_actions
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
from metarl_envs.scene.camera import Camera, as_camera


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
    outputs: str | Sequence[str] = (),
    remembered: str | Sequence[str] = ("qpos",),
    keyframe: str | int | None = None,
    action_low: Controls | None = None,
    action_high: Controls | None = None,
    action_middle: Controls | None = None,
    camera: Camera | None = None,
    name: str = "",
) -> MujocoRobot:
    """The robot of an MJCF file.

    Args:
        xml: the file; in a Python file beside it, `Path(__file__).with_name("robot.xml")`. Or a
            robot of MuJoCo Menagerie, such as "menagerie:unitree_go2": see `menagerie_file`.
        frame_skip: simulator steps per control step, >= 1.
        observation: what the policy reads, of named tensors with a leading axis N: -> (N, O).
        terminated: ends an episode: -> (N,) bool.
        quantities: named measures in SI units, such as "forward_velocity_m_per_s": -> (N,).
        reset: the scale of noise on initial positions and velocities, or what draws them.
        outputs: further fields of `mujoco.MjData` that the functions read, such as "xpos". They
            belong to the state after the step, forces to the controls just applied: `mj_forward`
            follows the step, which takes time only where outputs are asked for.
        remembered: fields whose values from before the step `transition.before` holds.
        keyframe: of the model, that episodes start around, by its name or number: all of it,
            controls, actuator states and mocap poses included. Of one that names no controls,
            position servos hold its pose. Reset noise falls on positions and velocities only.
        action_low: lowest control, for all actuators or for each; None: of their control ranges,
            within which it must lie.
        action_high: highest control, likewise. An actuator without a range needs both.
        action_middle: control that a policy's output 0 means, where training begins. None: the
            keyframe's controls, within the bounds, so that a robot held by servos begins by holding
            itself; without a keyframe, or where all its controls are 0 and no servo holds itself by
            that, the middle between low and high.
        camera: where pictures are taken from; None: beside what moves, see `Camera`.
        name: None: that of the file, or in MuJoCo Menagerie.

    Raises:
        InputError: for a missing or invalid file, a robot of MuJoCo Menagerie that is unknown or
            cannot be downloaded, actuators that nothing bounds, an unknown keyframe, an output that
            cannot be read, an observation of another shape, or a camera on something that the model
            does not have.
    """
    in_menagerie = menagerie_name(xml)
    path = Path(xml) if in_menagerie is None else menagerie_file(xml)
    forget_models()
    draft = MujocoRobot(
        name=name or (in_menagerie or path.stem).replace("_", "-"),
        xml=path,
        frame_skip=whole("frame_skip", frame_skip, least=1, most=INT),
        observation=observation,
        observation_size=0,
        reset_state=reset
        if callable(reset)
        else uniform_positions_normal_velocities(real("reset", reset)),
        terminated=terminated,
        quantities=dict(quantities or {"control_effort": control_effort}),
        remembered=_several(remembered),
        outputs=_several(outputs),
        camera=as_camera(camera),
    )
    draft = dataclasses.replace(draft, keyframe=_keyframe(draft, keyframe))
    _check(draft)
    draft = with_actions(draft, action_low, action_high, action_middle)
    if not callable(reset) and real("reset", reset) != 0:
        drawn = with_unit_quaternions(draft.reset_state, draft.load_model())
        draft = dataclasses.replace(draft, reset_state=drawn)
    start = CpuEngine(draft.load_model(), PROBED, outputs=draft.outputs, keyframe=draft.keyframe)
    start.reset(None, *(row.expand(PROBED, -1) for row in draft.initial_state()))
    observed = called(f"observation of {draft.name}", observation, start.data)
    check_shape(f"observation of {draft.name}", observed, (PROBED, None))
    return dataclasses.replace(draft, observation_size=observed.shape[1])


def with_unit_quaternions(draw: ResetState, model: mujoco.MjModel) -> ResetState:
    """The same draws with the quaternions of free and ball joints scaled to length 1.

    MuJoCo reads a longer one as the same rotation and scales it in the first step; until then an
    observation of qpos would show a length that no other state has.
    """
    first = {mujoco.mjtJoint.mjJNT_FREE: 3, mujoco.mjtJoint.mjJNT_BALL: 0}
    kinds = [mujoco.mjtJoint(kind) for kind in model.jnt_type]
    addresses = [
        int(model.jnt_qposadr[joint]) + first[kind]
        for joint, kind in enumerate(kinds)
        if kind in first
    ]

    def reset_state(
        qpos: Tensor, qvel: Tensor, num_worlds: int, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        qpos, qvel = draw(qpos, qvel, num_worlds, generator)
        for address in addresses:
            quaternion = qpos[:, address : address + 4]
            quaternion /= quaternion.norm(dim=1, keepdim=True)
        return qpos, qvel

    return reset_state


def _check(robot: MujocoRobot) -> None:
    """Refuse what would only fail, or mislead, much later."""
    model = robot.load_model()
    if model.nu == 0:
        raise InputError(f"model {robot.xml}: has no actuators, so there is nothing to learn")
    there = ("qpos", "qvel", "ctrl", "time", *robot.outputs)
    for field in robot.remembered:
        if field not in there:
            raise InputError(
                f"remembered = '{field}': allowed are {', '.join(there)}; add it to outputs"
            )
    robot.camera.check(model)


def _several(fields: str | Sequence[str]) -> tuple[str, ...]:
    """Fields in a row; one that is given alone is one of them."""
    return (fields,) if isinstance(fields, str) else tuple(fields)


def _keyframe(robot: MujocoRobot, given: str | int | None) -> int | None:
    """The number of the keyframe of that name or number; None: none."""
    if given is None or given == "":
        return None
    model = robot.load_model()
    if isinstance(given, str):
        keys = {model.key(i).name: i for i in range(model.nkey) if model.key(i).name}
        if given not in keys:
            raise unknown_name(f"keyframe of {robot.name}", given, keys)
        return keys[given]
    number = whole("keyframe", given, least=0)
    if number >= model.nkey:
        raise InputError(
            f"keyframe = {number}: {robot.name} has {model.nkey} keyframes, counted from 0"
        )
    return number
