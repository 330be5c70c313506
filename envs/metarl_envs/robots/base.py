"""Robots: a model plus pure functions of its state, batched over worlds."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import gymnasium
import mujoco
import torch
from torch import Generator, Tensor

from metarl_envs.errors import InputError
from metarl_envs.inputs.numbers import real
from metarl_envs.inputs.plain import PlainFields
from metarl_envs.mjcf.log import ignore_mujoco_warnings
from metarl_envs.mjcf.muscles import fixed_muscle_forces
from metarl_envs.mjcf.servos import complete_keyframes, has_servos
from metarl_envs.robots.floating import Floating
from metarl_envs.scene.camera import Camera

State = Mapping[str, Tensor]
"""Read-only view of an engine's named tensors, each (N, ...)."""


@dataclass(frozen=True)
class Transition:
    """One control step of N worlds, as rewards, terminations and quantities see it."""

    before: State
    """Copies of the robot's `remembered` fields from before the step."""
    after: State
    action: Tensor  # (N, A), in control units
    dt_s: float
    task: Mapping[str, Tensor]  # parameter values, each (N,) or (N, d)


class RecoverStates(Protocol):
    """Tells the states before and after a step from the observations there.

    As far as rewards, terminations and quantities read them. A place that is not observed counts
    from where the step began.
    """

    def __call__(self, before: Tensor, after: Tensor, dt_s: float) -> tuple[State, State]:
        """Observations (N, O), twice, and the step's seconds -> states."""
        ...


class ResetState(Protocol):
    """Draws initial positions and velocities around the model's own."""

    def __call__(
        self, qpos: Tensor, qvel: Tensor, num_worlds: int, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """(nq,), (nv,) -> (N, nq), (N, nv)."""
        ...


def never(transition: Transition) -> Tensor:
    """No termination: (N,) False."""
    return torch.zeros(len(transition.action), dtype=torch.bool, device=transition.action.device)


@dataclass(frozen=True, kw_only=True)
class MujocoRobot(PlainFields):
    """A robot of an MJCF file, simulated by MuJoCo."""

    source: ClassVar[None] = None
    mixed_units: ClassVar[bool] = True
    has_model: ClassVar[bool] = True
    name: str
    xml: Path
    frame_skip: int
    """Simulator substeps per control step."""
    observation: Callable[[State], Tensor]  # -> (N, O)
    observation_size: int
    reset_state: ResetState
    terminated: Callable[[Transition], Tensor]  # -> (N,) bool
    quantities: Mapping[str, Callable[[Transition], Tensor]]
    """Named physical quantities in SI units, such as "forward_velocity_m_per_s": -> (N,)."""
    remembered: tuple[str, ...] = ("qpos",)
    """Fields that rewards and quantities compare with their value before the step."""
    outputs: tuple[str, ...] = ()
    """Engine outputs that the functions above read, besides qpos and qvel."""
    lagged_outputs: bool = False
    """True if outputs are those of the last substep's start, where `mj_step` leaves them and where
    Gymnasium's own environments read them; otherwise they belong to the state after the step."""
    camera: Camera = field(default_factory=Camera)
    keyframe: int | None = None
    """Number of the model's keyframe that episodes start around, its controls and actuator states
    included; None: its reference position, `qpos0`, and none."""
    action_low: tuple[float, ...] | None = None
    """Lowest control of each actuator; None: that of the model's control range."""
    action_high: tuple[float, ...] | None = None
    """Highest control of each actuator; None: that of the model's control range."""
    action_middle: tuple[float, ...] | None = None
    """Control of each actuator that a policy's output 0 means; None: the middle of the range."""
    edit: Callable[[mujoco.MjSpec], None] | None = None
    """Change of the MJCF before it is compiled; None: none. Hashable, as models are cached by it.
    """
    controls: Callable[[State, Tensor], Mapping[str, Tensor]] | None = None
    """Tensors that actions (N, A) set in the engine before a step, by the names that the state has
    for them: "ctrl", or an output that is an input, "mocap_pos". None: actions are the controls.
    With it, `action_low` and `action_high` are given."""
    kept: Callable[[State], Tensor] | None = None
    """Numbers of each state, (N, K), that the observation after the next step reads by the name
    "kept"; at the start of an episode they are of that start. None: none."""
    warm_start: tuple[float, ...] | None = None
    """Accelerations, one for each degree of freedom, at which the solver begins in a fresh state,
    as in the run that led to the keyframe; None: 0."""
    recovered: RecoverStates | None = None
    """States that observations tell, for policies that imagine steps; None: they tell too little.
    """
    angles: tuple[int, ...] = ()
    """Entries of the observation, in order, that are angles in rad and may come all the way round.
    """
    floating: Floating | None = None
    """Entries of the observation that show a floating body; None: none, or not all of them."""
    max_contacts: int = 32
    """Contacts per world that the engine warp has room for, on average over the worlds."""
    max_constraints: int = 128
    """Constraint rows that it has room for in each world. Random controls came to at most 38 rows
    and 9 contacts with the robots here; what does not fit is dropped, and reported as a fault."""

    def __post_init__(self) -> None:
        entries = range(self.observation_size)
        if self.angles != tuple(sorted(set(self.angles) & set(entries))):
            raise InputError(
                f"angles of {self.name} = {self.angles}: must be entries of the observation, in "
                f"order, from 0 to {len(entries) - 1}"
            )
        if self.floating is not None:
            self.floating.check(self.name, self.observation_size)

    def load_model(self) -> mujoco.MjModel:
        """The nominal model: a copy that the caller may change."""
        return copy.copy(self._nominal)

    @property
    def dt_s(self) -> float:
        """Seconds per control step."""
        return float(self._nominal.opt.timestep) * self.frame_skip

    @property
    def render_fps(self) -> int:
        """Frames per second of a video in real time."""
        return round(1 / self.dt_s)

    def action_bounds(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest control, each (A,) float64."""
        bounds = torch.from_numpy(self._nominal.actuator_ctrlrange.copy())
        low, high = (
            bounds[:, i].clone() if given is None else torch.tensor(given, dtype=torch.float64)
            for i, given in enumerate((self.action_low, self.action_high))
        )
        return low, high

    def initial_state(self) -> tuple[Tensor, Tensor]:
        """The model's own positions and velocities, (nq,) and (nv,) float64."""
        model = self._nominal
        if self.keyframe is not None:
            key = model.key(self.keyframe)
            return torch.from_numpy(key.qpos.copy()), torch.from_numpy(key.qvel.copy())
        return torch.from_numpy(model.qpos0.copy()), torch.zeros(model.nv, dtype=torch.float64)

    def keyframe_controls(self) -> Tensor | None:
        """The keyframe's controls, (A,) float64; None without a keyframe, or where it says nothing.

        That is where all are 0, as MuJoCo makes those of a keyframe that names none, and there is
        no position servo, which would hold the pose by such a control; or where actions are no
        controls.
        """
        if self.keyframe is None or self.controls is not None:
            return None
        model = self._nominal
        controls = torch.from_numpy(model.key(self.keyframe).ctrl.copy())
        return controls if bool(controls.any()) or has_servos(model) else None

    @property
    def _nominal(self) -> mujoco.MjModel:
        """The compiled model, not to be changed."""
        return _compiled(self.xml, self.edit)


@dataclass(frozen=True, kw_only=True)
class AnalyticRobot(PlainFields):
    """A robot whose dynamics are one tensor function."""

    xml: ClassVar[None] = None
    source: ClassVar[None] = None
    mixed_units: ClassVar[bool] = False
    has_model: ClassVar[bool] = False
    action_middle: ClassVar[None] = None
    controls: ClassVar[None] = None
    kept: ClassVar[None] = None
    camera: ClassVar[Camera] = Camera()
    name: str
    dynamics: Callable[[Tensor, Tensor], Tensor]  # (N, nq), (N, nu) -> (N, nq)
    num_positions: int
    control_limit: float
    """Controls lie in [-limit, limit]."""
    action_size: int
    dt_s: float
    observation: Callable[[State], Tensor]  # -> (N, O)
    observation_size: int
    reset_state: ResetState
    terminated: Callable[[Transition], Tensor]  # -> (N,) bool
    quantities: Mapping[str, Callable[[Transition], Tensor]] = field(default_factory=dict)
    remembered: tuple[str, ...] = ("qpos",)
    recovered: RecoverStates | None = None
    """As of `MujocoRobot`."""
    angles: ClassVar[tuple[int, ...]] = ()
    floating: ClassVar[None] = None
    frame_skip: int = 1
    render_fps: int = 10
    """Frames per second of a video, which need not be in real time."""

    def action_bounds(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest control, each (A,) float64."""
        high = torch.full((self.action_size,), self.control_limit, dtype=torch.float64)
        return -high, high

    def initial_state(self) -> tuple[Tensor, Tensor]:
        """All zero: (nq,) and (nq,) float64."""
        zeros = torch.zeros(self.num_positions, dtype=torch.float64)
        return zeros, zeros.clone()

    def keyframe_controls(self) -> None:
        """None: there is no keyframe."""

    def load_model(self) -> mujoco.MjModel:
        """Refused: there is no model.

        Raises:
            InputError: always, naming the parameters that need none.
        """
        raise InputError(
            f"robot {self.name} has no MuJoCo model, so only goals, delay and what is observed can "
            "vary: vary.goal, vary.action_delay, vary.observation_noise, vary.observation_bias, "
            "vary.observation_gain"
        )


def fresh(robot: MujocoRobot, state: State) -> State:
    """A state as an observation at the start of an episode reads it."""
    return state if robot.kept is None else {**state, "kept": robot.kept(state)}


def control_cost(transition: Transition, weight: float) -> Tensor:
    """weight * |a|^2: (N,)."""
    return weight * transition.action.square().sum(dim=1)


def forward_velocity(transition: Transition) -> Tensor:
    """Mean x velocity of the root over the control step, m/s: (N,)."""
    moved = transition.after["qpos"][:, 0] - transition.before["qpos"][:, 0]
    return moved / transition.dt_s


def opposite(rule: Callable[[Transition], Tensor]) -> Callable[[Transition], Tensor]:
    """The negation of a rule, such as "not healthy"; it returns (N,) bool."""

    def negated(transition: Transition) -> Tensor:
        return ~rule(transition)

    return negated


def planar_walker_observation(state: State) -> Tensor:
    """Positions without x, then velocities clipped to +-10, as in Hopper-v5 and Walker2d-v5."""
    return torch.cat([state["qpos"][:, 1:], state["qvel"].clamp(-10.0, 10.0)], dim=1)


def planar_walker_states(before: Tensor, after: Tensor, dt_s: float) -> tuple[State, State]:
    """States from observations that are positions without x, then velocities, x's first.

    x after the step follows from the mean of its velocities before and after it.
    """
    nv = (before.shape[1] + 1) // 2
    moved = dt_s * 0.5 * (before[:, nv - 1] + after[:, nv - 1])
    places = torch.zeros_like(moved), moved

    def state(x: Tensor, observation: Tensor) -> State:
        positions, velocities = observation[:, : nv - 1], observation[:, nv - 1 :]
        return {"qpos": torch.cat([x.unsqueeze(1), positions], dim=1), "qvel": velocities}

    return state(places[0], before), state(places[1], after)


def _uniform_noise(like: Tensor, num_worlds: int, scale: float, generator: Generator) -> Tensor:
    u = torch.rand(
        (num_worlds, len(like)), generator=generator, dtype=like.dtype, device=generator.device
    )
    return (2 * u - 1) * scale


def uniform_positions_normal_velocities(scale: float) -> ResetState:
    """qpos + U(+-scale), then qvel + scale * N(0, 1)."""
    scale = real("scale", scale)

    def reset_state(
        qpos: Tensor, qvel: Tensor, num_worlds: int, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        position_noise = _uniform_noise(qpos, num_worlds, scale, generator)
        velocity_noise = scale * torch.randn(
            (num_worlds, len(qvel)), generator=generator, dtype=qvel.dtype, device=generator.device
        )
        return qpos + position_noise.to(qpos.device), qvel + velocity_noise.to(qvel.device)

    return reset_state


def uniform_positions_and_velocities(scale: float) -> ResetState:
    """qpos + U(+-scale), then qvel + U(+-scale)."""
    scale = real("scale", scale)

    def reset_state(
        qpos: Tensor, qvel: Tensor, num_worlds: int, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        position_noise = _uniform_noise(qpos, num_worlds, scale, generator)
        velocity_noise = _uniform_noise(qvel, num_worlds, scale, generator)
        return qpos + position_noise.to(qpos.device), qvel + velocity_noise.to(qvel.device)

    return reset_state


def gymnasium_asset(file_name: str) -> Path:
    """An MJCF file of the installed Gymnasium (MIT), found without importing its MuJoCo part."""
    return Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / file_name


def forget_models() -> None:
    """Clear the cache of MJCF files, which users edit while a process runs."""
    _compiled.cache_clear()


@functools.cache
def _compiled(xml: Path, edit: Callable[[mujoco.MjSpec], None] | None) -> mujoco.MjModel:
    """The model of an MJCF file after an edit, compiled once; not to be changed.

    Its muscles are of fixed force, and servos hold the pose of its keyframes.
    """
    ignore_mujoco_warnings()
    if not xml.is_file():
        raise InputError(f"model {xml}: no such file")
    try:
        if edit is None:
            model = mujoco.MjModel.from_xml_path(str(xml))
        else:
            spec = mujoco.MjSpec.from_file(str(xml))
            edit(spec)
            model = spec.compile()
    except ValueError as error:
        raise InputError(f"model {xml}: {' '.join(str(error).split())}") from None
    fixed_muscle_forces(model)
    complete_keyframes(model)
    return model
