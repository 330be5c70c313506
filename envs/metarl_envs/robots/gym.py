"""A robot that is a third-party Gymnasium environment, unmodified."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import mujoco
import torch
from torch import Generator, Tensor

from metarl_envs.errors import InputError, unknown_name
from metarl_envs.gym_worlds.bundle import Row
from metarl_envs.gym_worlds.worlds import ATTRIBUTE, Source, World, opened
from metarl_envs.inputs.plain import PlainFields
from metarl_envs.robots.base import Camera, State, Transition

MAX_SEED = 2**31


def observed(state: State) -> Tensor:
    """The environment's own observation, flat: (N, O)."""
    return state["observation"].clone()


def own_reward(transition: Transition) -> Tensor:
    """The environment's own reward: (N,)."""
    return transition.after["reward"].clone()


def own_termination(transition: Transition) -> Tensor:
    """The environment's own `terminated`: (N,) bool."""
    return transition.after["terminated"] != 0


def seeds(
    qpos: Tensor, qvel: Tensor, num_worlds: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """A seed for each world's `reset`, as its "position": (N, 1), (N, 0)."""
    drawn = torch.randint(MAX_SEED, (num_worlds, 1), generator=generator, device=generator.device)
    return drawn.to(qpos), qvel.expand(num_worlds, 0)


@dataclass(frozen=True, kw_only=True)
class GymRobot(PlainFields):
    """A Gymnasium environment with Box spaces; observation, reward and end are its own."""

    xml: ClassVar[None] = None
    mixed_units: ClassVar[bool] = True
    action_middle: ClassVar[None] = None
    controls: ClassVar[None] = None
    kept: ClassVar[None] = None
    recovered: ClassVar[None] = None
    angles: ClassVar[tuple[int, ...]] = ()
    floating: ClassVar[None] = None
    name: str
    env_id: str
    source: Source
    """The arguments that make it."""
    row: Row
    """The values that a world reports after each step."""
    infos: tuple[str, ...]
    """Keys of `info` that it reports, too."""
    low: tuple[float, ...]
    high: tuple[float, ...]
    dt_s: float
    quantities: Mapping[str, Callable[[Transition], Tensor]]
    time_limit: int | None = None
    """Steps after which it is registered to end an episode; None: never."""
    no_model: str = ""
    """The reason that none of its MuJoCo models can vary; "" if one can, or it holds none."""
    camera: Camera = field(default_factory=Camera)
    remembered: tuple[str, ...] = ("observation",)
    frame_skip: int = 1
    observation: Callable[[State], Tensor] = observed
    terminated: Callable[[Transition], Tensor] = own_termination
    reset_state: Callable[..., tuple[Tensor, Tensor]] = seeds

    @property
    def has_model(self) -> bool:
        """True if MuJoCo simulates it: then worlds report positions."""
        return "qpos" in self.row.sizes

    @property
    def observation_size(self) -> int:
        """O."""
        return self.row.sizes["observation"]

    @property
    def action_size(self) -> int:
        """A."""
        return len(self.low)

    @property
    def render_fps(self) -> int:
        """Frames per second of a video in real time."""
        return max(1, round(1 / self.dt_s))

    def action_bounds(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest action, each (A,) float64."""
        low, high = (torch.tensor(bound, dtype=torch.float64) for bound in (self.low, self.high))
        return low, high

    def initial_state(self) -> tuple[Tensor, Tensor]:
        """Placeholders of a seed and no velocity: (1,) and (0,) float64."""
        return torch.zeros(1, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)

    def keyframe_controls(self) -> None:
        """None: a keyframe of the environment's model is its own business."""

    def model_in(self, world: World) -> mujoco.MjModel:
        """The model of one of its environments, live.

        Raises:
            InputError: for an environment without MuJoCo.
        """
        if world.simulation is None:
            why = self.no_model or "it is not simulated by MuJoCo"
            raise InputError(
                f"{self.env_id} has no bodies to vary: {why}; vary its attributes with "
                "vary.attribute"
            )
        return world.simulation.model

    def load_model(self) -> mujoco.MjModel:
        """The nominal model: a copy that the caller may change.

        Raises:
            InputError: for an environment without MuJoCo.
        """
        with opened(self.source) as world:
            return copy.copy(self.model_in(world))

    def template_fields(self, names: Sequence[str]) -> dict[str, Tensor]:
        """The environment's own values of fields, float64.

        Raises:
            InputError: for an attribute that it does not have.
        """
        attributes = [n.removeprefix(ATTRIBUTE) for n in names if n.startswith(ATTRIBUTE)]
        with opened(self.source) as world:
            if not set(attributes) <= set(world.numbers()):
                world.reset(0)  # some are set there
            numbers = world.numbers()
            for attribute in attributes:
                if attribute not in numbers:
                    raise unknown_name(f"number of {self.env_id}", attribute, numbers)
            return {name: torch.from_numpy(world.read(name)) for name in names}
