"""One world of a task family as a `gymnasium.Env`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from torch import Generator

from metarl_envs.batch_env import BatchEnv
from metarl_envs.errors import InputError, unknown_name
from metarl_envs.family import Split, TaskFamily
from metarl_envs.inputs.numbers import tensor, whole
from metarl_envs.inputs.plain import as_annotated
from metarl_envs.registry import get_family
from metarl_envs.rendering.renderer import WorldRenderer, make_renderer, picture_size
from metarl_envs.tasks import Tasks

Box = gymnasium.spaces.Box
TaskDict = Mapping[str, float | Sequence[float]]
"""A task by parameter names; parameters left out are nominal."""


def spaces(family: TaskFamily) -> tuple[Box, Box]:
    """Observations, unbounded (O,) float64, and actions, the control range, (A,) float32."""
    low, high = (bound.numpy().astype(np.float32) for bound in family.action_bounds())
    observations = Box(-np.inf, np.inf, (family.observation_size,), np.float64)
    return observations, Box(low, high, dtype=np.float32)


def chosen_family(
    family: str | TaskFamily, observe_task: bool, render_mode: str | None
) -> TaskFamily:
    """The family by name or as given, observing the task if asked for.

    Raises:
        InputError: for an unknown family, a flag of another type or an unknown render mode.
    """
    if render_mode not in (None, "rgb_array"):
        raise InputError(f"render_mode = '{render_mode}': must be None or 'rgb_array'")
    family = get_family(family) if isinstance(family, str) else family
    observes = as_annotated("observe_task", observe_task, bool)
    return dataclasses.replace(family, observes_task=True) if observes else family


class MetaEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One world of a task family; the family's `source` has the reward and where it comes from.

    ## Action space
    Box of the robot's control range, or of the `action_low` and `action_high` that it was given,
    (A,) float32. Actions are applied as given: the simulator clamps forces, the reward sees the raw
    action.

    ## Observation space
    Unbounded Box, (O,) float64: the robot's, then the values of observed parameters. Neither space
    depends on the task.

    ## Task
    Nominal at first. `reset(options={"task": {...}})` or `set_task` chooses another, which stays
    for the following episodes. `family.parameters` says what can be chosen.

    ## Info
    `task`; after a step also each of the robot's physical quantities by name, and `fault`.

    ## Starting state
    The robot's keyframe, controls and actuator states included, with reset noise on positions and
    velocities, drawn from a generator that `np_random` seeds.

    ## Episode end
    `terminated` by the family's rule. `truncated` only when the simulation diverged
    (`info["fault"]`): the horizon is the `max_episode_steps` of the registered id, which
    `gymnasium.make` enforces.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - Gymnasium's type

    def __init__(
        self,
        family: str | TaskFamily,
        render_mode: str | None = None,
        width: int = 480,
        height: int = 360,
        observe_task: bool = False,
    ) -> None:
        """Makes the world.

        Args:
            family: a registered family's name, or a family.
            render_mode: None or "rgb_array".
            width: of pictures, pixels.
            height: of pictures, pixels.
            observe_task: whether observations end with the task's features
                (`TaskFamily.task_features`), for policies that observe the task.

        Raises:
            InputError: for an unknown family or render mode, or a size of pictures that cannot be.
        """
        self.family = chosen_family(family, observe_task, render_mode)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": self.family.robot.render_fps}
        self._picture_size = picture_size(width, height)
        self._renderer: WorldRenderer | None = None
        self._batch = BatchEnv(self.family, num_tasks=1, episodes_per_task=1)
        self._reset_generator = Generator()
        self.observation_space, self.action_space = spaces(self.family)

    def sample_tasks(self, n: int, split: Split = "train") -> list[dict[str, Any]]:
        """n tasks for `set_task`, drawn with `np_random`.

        Raises:
            InputError: for n < 1 or a split that the family does not have.
        """
        generator = Generator().manual_seed(self._draw_seed())
        tasks = self.family.sample_tasks(n, generator, split)
        return [tasks.describe(i) for i in range(len(tasks))]

    def set_task(self, task: TaskDict | Tasks) -> None:
        """Change physics and goal, now and for the following episodes; the state stays.

        Raises:
            InputError: naming parameter, value and what is allowed.
        """
        if isinstance(task, Tasks):
            self._batch.set_tasks(task)
        elif isinstance(task, Mapping):
            self._batch.set_tasks(self.family.make_task(task))
        else:
            raise InputError(f"task = {task!r}: must name parameters, such as {self.get_task()}")

    def get_task(self) -> dict[str, Any]:
        """The task in force, every parameter by name."""
        return self._batch.tasks.describe(0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode, with `options={"task": {...}}` in another task.

        Raises:
            InputError: for a seed below 0, an unknown option, or a task that the family does not
                allow.
        """
        super().reset(seed=None if seed is None else whole("seed", seed, least=0))
        options = options or {}
        for name in options:
            if name != "task":
                raise unknown_name("reset option", name, ["task"])
        if "task" in options:
            self.set_task(options["task"])
        self._reset_generator.manual_seed(self._draw_seed())
        observations = self._batch.reset(self._reset_generator)
        return observations[0].numpy().copy(), {"task": self.get_task()}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control step.

        Raises:
            InputError: for an action of another shape, or that is no numbers.
        """
        given = tensor("action", action)
        if given.shape != self.action_space.shape:
            raise InputError(
                f"action has shape {tuple(given.shape)}, {self.family.name} takes "
                f"{self.action_space.shape}"
            )
        step = self._batch.step(given[None])
        quantities = {
            name: float(quantity(step.transition)[0])
            for name, quantity in self.family.robot.quantities.items()
        }
        fault = bool(step.diverged[0])
        info = {"task": self.get_task(), "fault": fault, **quantities}
        observation = step.observations[0].numpy().copy()
        return observation, float(step.rewards[0]), bool(step.terminated[0]), fault, info

    def render(self) -> np.ndarray | None:  # type: ignore[override]  # one mode only
        """A picture of the world, (height, width, 3) uint8; None without a render mode.

        Raises:
            InputError: if no OpenGL library can be used.
        """
        if self.render_mode is None:
            return None
        if self._renderer is None:
            self._renderer = make_renderer(self.family, *self._picture_size)
        return self._renderer.frame(self._batch.engine, 0, self.get_task())

    def close(self) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _draw_seed(self) -> int:
        return int(self.np_random.integers(2**62))
