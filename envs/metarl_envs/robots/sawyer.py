"""The robot of Meta-World's environments: a Sawyer arm whose hand follows a mocap body, 80 Hz.

The model is the package's own file (`metaworld`, MIT), read where it is installed. An action moves
the mocap body, to which the hand is welded, and sets the effort of the two fingers. Control,
observation and start are those of `SawyerXYZEnv` in metaworld 3.0.0, which moves one world.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mujoco
import torch
from torch import Generator, Tensor

from metarl_envs.gym_worlds.metaworld import WELD, package
from metarl_envs.robots.base import MujocoRobot, State, never
from metarl_envs.scene.camera import Camera

HAND_LOW = (-0.5, 0.4, 0.05)
HAND_HIGH = (0.5, 1.0, 0.5)
"""Box of the mocap body, m."""
STEP_M = 0.01
"""Way of the mocap body for an action of 1."""
SEEN_LOW = (-0.525, 0.348, -0.0525)
SEEN_HIGH = (0.525, 1.025, 0.7)
"""Box to which the observed place of the hand is clipped, m."""
HAND_START = (0.0, 0.6, 0.2)
"""Place of the mocap body at the start, m."""
SETTLING_STEPS = 50
"""Control steps in which the hand goes there, with open fingers, before an episode."""
WIDEST_M = 0.1
"""Distance of the fingers that is observed as 1."""
CAMERA = Camera(
    body="hand", fixed=True, distance_m=1.5, azimuth_deg=225.0, elevation_deg=-25.0, height_m=0.15
)
FRAME_SKIP = 5
FRAME = 18
"""Numbers of one observation; the robot sees the last two, and three zeros for the hidden goal."""
PADDING = 7
"""Of these, those of a second object, which is not there: 0."""
OBJECT = (9, 10)
"""Entries of qpos that are x and y of the object."""
OBJECT_HEIGHT = 11


@dataclass(frozen=True)
class Parts:
    """Numbers of the bodies and sites that observations and rewards read."""

    hand: int
    right_claw: int
    left_claw: int
    right_pad: int
    left_pad: int
    object: int
    right_tip: int
    left_tip: int

    def tip(self, state: State) -> Tensor:
        """Place of the middle between the finger tips, m: (N, 3)."""
        sites = state["site_xpos"]
        return (sites[:, self.right_tip] + sites[:, self.left_tip]) / 2

    def place(self, state: State) -> Tensor:
        """Place of the object, m: (N, 3)."""
        return state["xpos"][:, self.object]

    def opening(self, state: State) -> Tensor:
        """Distance of the claws over 0.1 m, at most 1: (N,)."""
        bodies = state["xpos"]
        apart = (bodies[:, self.right_claw] - bodies[:, self.left_claw]).norm(dim=1)
        return (apart / WIDEST_M).clamp(0.0, 1.0)

    def pads(self, state: State) -> Tensor:
        """The y of left and right pad, m: (N, 2)."""
        bodies = state["xpos"]
        return torch.stack([bodies[:, self.left_pad, 1], bodies[:, self.right_pad, 1]], dim=1)

    def frame(self, state: State) -> Tensor:
        """Hand, opening, the object's place and its quaternion x, y, z, w; zeros: (N, 18)."""
        hand, place = state["xpos"][:, self.hand], self.place(state)
        turned = torch.roll(state["xquat"][:, self.object], -1, dims=1)
        # Of the two quaternions of a rotation, the one whose largest entry is above 0, as scipy's.
        largest = turned.gather(1, turned.abs().argmax(dim=1, keepdim=True))
        opening = self.opening(state)[:, None]
        zeros = hand.new_zeros(len(hand), PADDING)
        return torch.cat([hand, opening, place, turned * largest.sign(), zeros], dim=1)

    def observation(self, state: State) -> Tensor:
        """The frame of now, that before the last step, and zeros for the goal: (N, 39)."""
        frames = [self.frame(state), state["kept"]]
        seen = [
            torch.cat([_boxed(frame[:, :3], SEEN_LOW, SEEN_HIGH), frame[:, 3:]], dim=1)
            for frame in frames
        ]
        return torch.cat([*seen, seen[0].new_zeros(len(seen[0]), 3)], dim=1)


def hand_and_fingers(state: State, actions: Tensor) -> dict[str, Tensor]:
    """The mocap body a step further, and the fingers' controls, from actions (N, 4)."""
    moved = state["mocap_pos"][:, 0] + actions[:, :3].clamp(-1.0, 1.0) * STEP_M
    effort = actions[:, 3:]
    return {
        "mocap_pos": _boxed(moved, HAND_LOW, HAND_HIGH)[:, None],
        "ctrl": torch.cat([effort, -effort], dim=1),
    }


def as_given(
    qpos: Tensor, qvel: Tensor, num_worlds: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """The same start in all worlds, without noise: (N, nq), (N, nv)."""
    return qpos.expand(num_worlds, -1).clone(), qvel.expand(num_worlds, -1).clone()


@dataclass(frozen=True)
class Settled:
    """The start of every episode: the hand has gone to its place, and the fingers are open.

    The package simulates these steps in each reset. They are the same in each, so that they are
    done once here, and are a keyframe. What the solver begins with is part of it: without that,
    positions differ by up to 0.07 mm after 500 random steps, and by 2 mm after a push.
    """

    qpos: tuple[float, ...]
    qvel: tuple[float, ...]
    warm_start: tuple[float, ...]
    time_s: float
    tip_m: tuple[float, float, float]
    """Place of the tip, from which rewards take distances; a substep earlier, as in the package."""
    object_height_m: float
    """Height of the object at rest, likewise."""


@dataclass(frozen=True)
class Welded:
    """An edit of the model: the weld as the package makes it, and the start as a keyframe.

    The package writes the weld into the compiled model, where `mj_setConst` would replace it.
    """

    start: Settled | None

    def __call__(self, spec: mujoco.MjSpec) -> None:
        for equality in spec.equalities:
            if equality.type == mujoco.mjtEq.mjEQ_WELD:
                equality.data[: len(WELD)] = WELD
        if self.start is not None:
            spec.add_key(
                name="settled",
                time=self.start.time_s,
                qpos=self.start.qpos,
                qvel=self.start.qvel,
                ctrl=(-1.0, 1.0),
                mpos=HAND_START,
                mquat=(1.0, 0.0, 1.0, 0.0),
            )


@dataclass(frozen=True)
class Sawyer:
    """The robot of one of the package's models, with what rewards need to know of it."""

    robot: MujocoRobot
    parts: Parts
    start: Settled


def sawyer(name: str, object_height_m: float | None) -> Sawyer:
    """The robot of one of the package's models.

    Args:
        name: of the file, such as "sawyer_reach_v3".
        object_height_m: height of the object at the start; None: where it comes to rest.

    Raises:
        InputError: without the package.
    """
    xml = _asset(name)
    spec = mujoco.MjSpec.from_file(str(xml))
    Welded(None)(spec)
    model = spec.compile()
    parts = _parts(model)
    start = _settled(model, parts, object_height_m)
    robot = MujocoRobot(
        name=name.replace("_", "-"),
        xml=xml,
        frame_skip=FRAME_SKIP,
        observation=parts.observation,
        observation_size=2 * FRAME + 3,
        reset_state=as_given,
        terminated=never,
        quantities={},
        remembered=(),
        outputs=("xpos", "xquat", "site_xpos", "mocap_pos"),
        camera=CAMERA,
        keyframe=0,
        action_low=(-1.0,) * 4,
        action_high=(1.0,) * 4,
        edit=Welded(start),
        controls=hand_and_fingers,
        kept=parts.frame,
        warm_start=start.warm_start,
    )
    return Sawyer(robot, parts, start)


def _asset(name: str) -> Path:
    """A model of the installed package."""
    return Path(package("metaworld").__file__).parent / "assets" / "sawyer_xyz" / f"{name}.xml"


def _parts(model: mujoco.MjModel) -> Parts:
    bodies = ("hand", "rightclaw", "leftclaw", "rightpad", "leftpad", "obj")
    sites = ("rightEndEffector", "leftEndEffector")
    return Parts(
        *(int(model.body(name).id) for name in bodies),
        *(int(model.site(name).id) for name in sites),
    )


def _settled(model: mujoco.MjModel, parts: Parts, object_height_m: float | None) -> Settled:
    data = mujoco.MjData(model)
    data.mocap_pos[0] = HAND_START
    data.mocap_quat[0] = (1.0, 0.0, 1.0, 0.0)
    data.ctrl[:] = (-1.0, 1.0)
    mujoco.mj_step(model, data, SETTLING_STEPS * FRAME_SKIP)
    rest = float(data.xpos[parts.object, 2])
    data.qpos[OBJECT_HEIGHT] = rest if object_height_m is None else object_height_m
    data.qvel[model.body_dofadr[parts.object] :][:6] = 0.0
    x, y, z = (data.site_xpos[parts.right_tip] + data.site_xpos[parts.left_tip]).tolist()
    return Settled(
        qpos=tuple(data.qpos.tolist()),
        qvel=tuple(data.qvel.tolist()),
        warm_start=tuple(data.qacc_warmstart.tolist()),
        time_s=float(data.time),
        tip_m=(x / 2, y / 2, z / 2),
        object_height_m=float(data.qpos[OBJECT_HEIGHT]),
    )


def _boxed(places: Tensor, low: tuple[float, ...], high: tuple[float, ...]) -> Tensor:
    """Places (N, 3) within a box."""
    # Plain numbers: a tensor made here could not be captured in a CUDA graph.
    axes = zip(places.unbind(dim=1), low, high, strict=True)
    return torch.stack([axis.clamp(least, most) for axis, least, most in axes], dim=1)
