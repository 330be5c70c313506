"""Errors of joint encoders, which the policy and the servos both read."""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from torch import Tensor

from metarl_envs.errors import InputError
from metarl_envs.mjcf.names import Patterns, find, listed
from metarl_envs.parameters import EncoderError, Fields, ModelEffect, Parameter
from metarl_envs.perturbations import EncoderOffset
from metarl_envs.robots.base import MujocoRobot, fresh
from metarl_envs.robots.kinds import Robot, model_of
from metarl_envs.vary.actuator_kinds import TRANSMISSION, actuators
from metarl_envs.vary.apply import Range, name_from, ranged

STRAIGHT = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
"""Joints whose position is one number."""
WITHOUT_ENCODER = ("motor", "velocity servo", "damper")
"""Actuators whose force does not depend on the joint's position."""


def encoder_offset(
    robot: Robot,
    names: Patterns,
    train: Range,
    *,
    each: bool = True,
    extrapolation: Range | None = None,
    name: str | None = None,
) -> Parameter:
    """A constant error b of the encoders of joints, in rad or m: they say q + b.

    All that reads the encoder has the error: the observation's entry, the position servos of the
    joint, which bring q + b to their target and so the joint to target - b, and the start of an
    episode, to which the robot goes by its encoders. Other entries of the observation stay true:
    a policy that observes the place of the hand as well can tell b from it. Joint limits are those
    of the joint itself. The servos' gear is the model's, so leave out `vary.gear` on them.

    Args:
        robot: of MJCF.
        names: name or glob pattern, or several, of hinges and slides.
        train: range of b.
        each: every joint has an error of its own, instead of one for all.
        extrapolation: values outside of `train`.
        name: of the parameter; None: made from `names`.

    Raises:
        InputError: for other joints, a joint whose position is no entry of the observation, or one
            that is driven by an actuator with another law of position, such as a PID servo.
    """
    model = model_of(robot)
    if not isinstance(robot, MujocoRobot):
        raise InputError(f"vary.encoder_offset of {robot.name}: must be a robot of MJCF")
    joints = find(model, "joint", names)
    name = name or name_from(names, "encoder_offset")
    called = {joint: f"joint '{model.joint(joint).name}'" for joint in joints}
    for joint in joints:
        if mujoco.mjtJoint(int(model.jnt_type[joint])) not in STRAIGHT:
            raise InputError(f"{name}: {called[joint]} is neither hinge nor slide; leave it out")
    positions = tuple(int(model.jnt_qposadr[joint]) for joint in joints)
    entries = tuple(
        _entry(robot, position, f"{name}: {called[joint]}")
        for joint, position in zip(joints, positions, strict=True)
    )
    servos = _servos(name, model, joints)
    indices, owners = [index for index, _ in servos], [owner for _, owner in servos]
    outputs = [int(model.actuator_outadr[index]) for index in indices]
    gears = torch.tensor([float(model.actuator_gear[output, 0]) for output in outputs])

    def transform(fields: Fields, value: Tensor) -> Fields:
        """Force = gain * control + bias[0] + bias[1] * length: the length is gear * (q + b)."""
        bias = fields["actuator_biasprm"].clone()
        offset = value.to(bias).reshape(len(bias), -1).expand(-1, len(joints))[:, owners]
        bias[:, indices, 0] += bias[:, indices, 1] * gears.to(bias) * offset
        return {"actuator_biasprm": bias}

    effect = EncoderError(
        ModelEffect(("actuator_biasprm",), transform), EncoderOffset(entries, positions)
    )
    kinds = {mujoco.mjtJoint(int(model.jnt_type[joint])) for joint in joints}
    units = ["rad" if kind == mujoco.mjtJoint.mjJNT_HINGE else "m" for kind in sorted(kinds)]
    what = f"error of the encoders of {listed(model, 'joint', names)}, observed and in their servos"
    nominal = (0.0,) * len(joints) if each else 0.0
    return ranged(name, " or ".join(units), what, nominal, train, extrapolation, effect)


def _entry(robot: MujocoRobot, position: int, called: str) -> int:
    """The entry of the observation that is this entry of qpos plus a constant, found by trial."""
    model, data = robot.load_model(), mujoco.MjData(robot.load_model())
    constants = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        data.qpos[:] = rng.uniform(-0.5, 0.5, model.nq)
        data.qvel[:] = rng.uniform(-0.5, 0.5, model.nv)
        mujoco.mj_forward(model, data)
        names = ("qpos", "qvel", "ctrl", *robot.outputs)
        state = {n: torch.from_numpy(np.array(getattr(data, n)))[None] for n in names}
        constants.append(robot.observation(fresh(robot, state))[0] - data.qpos[position])
    spread = torch.stack(constants).std(dim=0)
    found = (spread < 1e-12).nonzero().flatten().tolist()
    if len(found) != 1:
        raise InputError(
            f"{called}: {len(found)} entries of the observation of {robot.name} are its position "
            "(or that plus a constant); must be one, the position and not, say, its sine"
        )
    return int(found[0])


def _servos(name: str, model: mujoco.MjModel, joints: list[int]) -> list[tuple[int, int]]:
    """Position servos on joints: index of the actuator, and which of the joints it is."""
    on_joint = (TRANSMISSION.mjTRN_JOINT, TRANSMISSION.mjTRN_JOINTINPARENT)
    found = []
    for actuator in actuators(model, "*"):
        joint = int(model.actuator_trnid[actuator.index, 0])
        kind = TRANSMISSION(int(model.actuator_trntype[actuator.index]))
        if kind not in on_joint or joint not in joints or actuator.kind in WITHOUT_ENCODER:
            continue
        if actuator.kind != "position servo":
            raise InputError(
                f"{name}: actuator '{actuator.name}' of joint '{model.joint(joint).name}' is of "
                f"the kind '{actuator.kind}', whose use of the position is unknown; leave the "
                "joint out, or drive it by a position servo or a motor"
            )
        found.append((actuator.index, joints.index(joint)))
    return found
