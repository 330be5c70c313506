"""N worlds of a task family as a `gymnasium.vector.VectorEnv`, on the batched engine."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Generator, Tensor

from metarl_envs.batch_env import BatchEnv, BatchStep, Start
from metarl_envs.errors import InputError, unknown_name
from metarl_envs.family import TaskFamily
from metarl_envs.inputs.numbers import tensor, whole
from metarl_envs.interfaces.gym_env import TaskDict, chosen_family, spaces
from metarl_envs.rendering.renderer import WorldRenderer, make_renderer, picture_size
from metarl_envs.tasks import Tasks

Array = NDArray[Any]


class MetaVectorEnv(VectorEnv[Array, Array, Array]):
    """N worlds of a task family: what `MetaEnv` in a `SyncVectorEnv` gives, but stepped together.

    From the same seeds and tasks the two agree bit for bit, final observations included. World i
    draws from a generator of its own, seeded with `seed + i`.

    ## Tasks
    Nominal at first. `reset(options={"task": {...}})` gives all worlds one task,
    `options={"tasks": [...]}` (N of them) or `set_tasks` each world its own; they stay for the
    following episodes. `infos["task"][name]` is (N,) or (N, d).

    ## Episode end
    `autoreset_mode` is in the metadata. "SameStep": an ended world restarts within the step, and
    `infos` has `final_obs` and `final_info`. "NextStep": it restarts in the next step, which
    ignores its action and gives reward 0. "Disabled": reset it by `options={"reset_mask": mask}`,
    or the next step raises. A diverged world is truncated, with `infos["fault"]`.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - Gymnasium's type
        "render_modes": ["rgb_array"],
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        family: str | TaskFamily,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        width: int = 480,
        height: int = 360,
        sim_threads: int = 1,
        observe_task: bool = False,
    ) -> None:
        """Makes the worlds.

        Args:
            family: a registered family's name, or a family.
            num_envs: N, worlds.
            max_episode_steps: where episodes are truncated; None or -1: nowhere.
            autoreset_mode: "SameStep", "NextStep" or "Disabled".
            render_mode: None or "rgb_array".
            width: of pictures, pixels.
            height: of pictures, pixels.
            sim_threads: simulator threads; results do not depend on it.
            observe_task: as in `MetaEnv`.

        Raises:
            InputError: for an unknown family, mode or size.
        """
        self.family = chosen_family(family, observe_task, render_mode)
        modes = [mode.value for mode in AutoresetMode]
        mode = getattr(autoreset_mode, "value", autoreset_mode)
        if mode not in modes:
            raise InputError(f"autoreset_mode = '{mode}': allowed are {', '.join(modes)}")
        self.num_envs = num_envs = whole("num_envs", num_envs, least=1)
        limit = -1 if max_episode_steps is None else whole("max_episode_steps", max_episode_steps)
        self._batch = BatchEnv(
            self.family,
            num_envs,
            1,
            horizon=sys.maxsize if limit == -1 else limit,
            sim_threads=sim_threads,
        )
        self.render_mode = render_mode
        self._mode = AutoresetMode(mode)
        fps = self.family.robot.render_fps
        self.metadata = {**self.metadata, "autoreset_mode": self._mode, "render_fps": fps}
        self._picture_size = picture_size(width, height)
        self._renderer: WorldRenderer | None = None
        self.single_observation_space, self.single_action_space = spaces(self.family)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._generators = [seeding.np_random()[0] for _ in range(num_envs)]
        self._reset_generator = Generator()
        drawn = self._batch.draw_start(1, self._reset_generator)
        self._starts = Start.concatenate([drawn] * num_envs)
        self._ended: Tensor | None = None  # (N,) None before the first reset

    @property
    def tasks(self) -> Tasks:
        """The N tasks in force."""
        return self._batch.tasks

    def set_tasks(self, tasks: Tasks | Sequence[TaskDict]) -> None:
        """Change physics and goals, now and for the following episodes; states stay.

        Raises:
            InputError: if there are not N tasks, or one is not allowed.
        """
        if not isinstance(tasks, Tasks):
            tasks = Tasks.concatenate([self.family.make_task(task) for task in tasks])
        self._batch.set_tasks(tasks)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Array, dict[str, Any]]:
        """Start episodes, with `options={"reset_mask": (N,) bool}` only in some worlds.

        Raises:
            InputError: for an unknown option, a wrong mask or number of seeds, or a task that the
                family does not allow.
        """
        options = options or {}
        known = ("task", "tasks", "reset_mask")
        for name in options:
            if name not in known:
                raise unknown_name("reset option", name, known)
        chosen = self._mask(options.get("reset_mask"))
        for i, own in enumerate(self._seeds(seed)):
            if own is not None and chosen[i]:
                self._generators[i] = seeding.np_random(own)[0]
        if "tasks" in options:
            self.set_tasks(options["tasks"])
        elif "task" in options:
            self._set_task(options["task"], chosen)
        observations = self._start(chosen)
        return observations, {"task": self._task_info(chosen), "_task": chosen.numpy().copy()}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """One control step of every world, or its restart; see the class for autoreset.

        Raises:
            InputError: for actions of another shape, or that are no numbers.
            ResetNeeded: before the first reset, and where autoreset is disabled and a world ended.
        """
        given = tensor("actions", actions)
        if given.shape != self.action_space.shape:
            raise InputError(
                f"actions have shape {tuple(given.shape)}, {self.num_envs} worlds of "
                f"{self.family.name} take {self.action_space.shape}"
            )
        if self._ended is None:
            raise ResetNeeded("reset() comes before the first step()")
        restart = self._ended  # only in mode NextStep
        if self._mode == AutoresetMode.DISABLED and bool(restart.any()):
            raise ResetNeeded(
                f"{int(restart.sum())} worlds have ended: reset them with "
                "options={'reset_mask': terminated | truncated}"
            )
        moving = ~restart
        step = self._batch.step(given, moving if bool(restart.any()) else None)
        terminated = step.terminated & moving
        truncated = (step.truncated | step.diverged) & moving
        rewards = torch.where(moving, step.rewards, 0.0)
        infos: dict[str, Any] = {}
        self._ended = terminated | truncated
        if self._mode == AutoresetMode.SAME_STEP and bool(self._ended.any()):
            restart = self._ended
            infos["final_obs"] = _rows(step.observations, restart)
            infos["_final_obs"] = restart.numpy().copy()
            infos["final_info"] = self._info(step, restart)
            infos["_final_info"] = restart.numpy().copy()
            moving = ~restart
        if bool(moving.any()):
            infos |= self._info(step, moving)
        everywhere = torch.ones_like(moving)
        infos["task"], infos["_task"] = self._task_info(everywhere), everywhere.numpy()
        if bool(restart.any()):
            observations = self._start(restart)
        else:
            observations = step.observations.numpy().copy()
        paid, over, cut = (flag.numpy().copy() for flag in (rewards, terminated, truncated))
        return observations, paid, over, cut, infos

    def render(self) -> tuple[Array, ...] | None:  # type: ignore[override]  # one mode only
        """A picture of every world, (height, width, 3) uint8; None without a render mode.

        Raises:
            InputError: if no OpenGL library can be used.
        """
        if self.render_mode is None:
            return None
        if self._renderer is None:
            self._renderer = make_renderer(self.family, *self._picture_size)
        described = (self.tasks.describe(i) for i in range(self.num_envs))
        engine = self._batch.engine
        return tuple(self._renderer.frame(engine, i, task) for i, task in enumerate(described))

    def close_extras(self, **kwargs: object) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _start(self, chosen: Tensor) -> Array:
        """Start episodes in the chosen worlds, each from its own generator; all observations."""
        for i in chosen.nonzero().flatten().tolist():
            self._reset_generator.manual_seed(int(self._generators[i].integers(2**62)))
            drawn = self._batch.draw_start(1, self._reset_generator)
            for name in ("qpos", "qvel", "noise_seeds"):
                getattr(self._starts, name)[i] = getattr(drawn, name)[0]
        observations = self._batch.start(self._starts, chosen)
        if self._ended is None:
            self._ended = ~chosen  # those never reset cannot be stepped
        self._ended = self._ended & ~chosen
        return observations.numpy().copy()

    def _seeds(self, given: Any) -> list[int | None]:  # noqa: ANN401 - numbers of any type
        """A seed for each world, of one seed its successors; None where there is no new one."""
        if given is None:
            return [None] * self.num_envs
        if np.ndim(given) == 0:
            first = whole("seed", given, least=0)
            return [first + i for i in range(self.num_envs)]
        if len(given) != self.num_envs:
            raise InputError(f"{len(given)} seeds given, there are {self.num_envs} worlds")
        return [None if s is None else whole(f"seed[{i}]", s, 0) for i, s in enumerate(given)]

    def _mask(self, given: Array | None) -> Tensor:
        """The worlds of a reset mask; without one, all."""
        if given is None:
            return torch.ones(self.num_envs, dtype=torch.bool)
        mask = np.asarray(given)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise InputError(
                f"reset_mask of shape {mask.shape} and dtype {mask.dtype}: must be a bool array of "
                f"shape ({self.num_envs},) with at least one True"
            )
        return torch.from_numpy(mask.copy())

    def _set_task(self, task: TaskDict, chosen: Tensor) -> None:
        """Give the chosen worlds one task; the others keep theirs."""
        if not isinstance(task, Mapping):
            raise InputError(
                f"task = {task!r}: must name parameters, such as {self.tasks.describe(0)}"
            )
        values = {name: value.clone() for name, value in self.tasks.values.items()}
        for name, value in self.family.make_task(task).values.items():
            values[name][chosen] = value
        self._batch.set_tasks(Tasks(values))

    def _task_info(self, mask: Tensor) -> dict[str, Any]:
        """The tasks of these worlds as Gymnasium's vector infos: (N, ...) arrays with masks."""
        info = {}
        for name, value in self.tasks.values.items():
            info[name] = _where(mask, value)
            info[f"_{name}"] = mask.numpy().copy()
        return info

    def _info(self, step: BatchStep, mask: Tensor) -> dict[str, Any]:
        """The infos of `MetaEnv.step` for these worlds, as Gymnasium's vector infos."""
        quantities = self.family.robot.quantities
        measured = {name: quantity(step.transition) for name, quantity in quantities.items()}
        info: dict[str, Any] = {"task": self._task_info(mask), "_task": mask.numpy().copy()}
        for name, value in {"fault": step.diverged, **measured}.items():
            info[name] = _where(mask, value)
            info[f"_{name}"] = mask.numpy().copy()
        return info


def _where(mask: Tensor, value: Tensor) -> Array:
    """(N, ...) rows of the masked worlds, zeros in the others: a new array."""
    rows = mask.view(-1, *[1] * (value.dim() - 1))
    return torch.where(rows, value, torch.zeros_like(value)).numpy()


def _rows(observations: Tensor, mask: Tensor) -> Array:
    """(N,) objects: the rows of the masked worlds, None elsewhere."""
    rows = np.full(len(mask), None, dtype=object)
    for i in mask.nonzero().flatten().tolist():
        rows[i] = observations[i].numpy().copy()
    return rows
