"""A batch of worlds as Stable-Baselines3's `VecEnv`: one simulator call per step for all worlds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from torch import Generator, Tensor

from metarl_envs import BatchEnv, InputError, Split, TaskFamily, Tasks
from metarl_envs.batch_env import Start
from metarl_envs.inputs.numbers import whole

Infos = list[dict[str, Any]]


class TaskVecEnv(VecEnv):
    """N worlds of a task family, reset one by one as their episodes end.

    Without `tasks` every episode has a task of its own: a world draws a new one from `split`
    whenever it is reset. With `tasks`, world n runs the n-th of them in all its episodes. A family
    with `observes_task` shows each world's task at the end of its observations.

    Observations are float32 and actions are in the family's own control range, which SB3 clips to.
    When a world's episode ends, the observation returned is the first of its next episode, and its
    info holds:

    - `terminal_observation`: the last of the old one;
    - `TimeLimit.truncated`: the episode ended for another reason than the family's rule, so that
      SB3 bootstraps the value of the last observation;
    - `task`: by parameter names;
    - `fault`: the simulation diverged. Such an episode counts as truncated, its last observation
      is the last finite one and the last reward is 0. `num_faults` counts them.
    """

    render_mode = None

    def __init__(
        self,
        family: TaskFamily,
        num_worlds: int,
        *,
        tasks: Tasks | None = None,
        split: Split = "train",
        horizon: int | None = None,
        seed: int = 0,
        sim_threads: int = 1,
    ) -> None:
        """Makes the worlds; `reset` starts them.

        Args:
            family: to simulate.
            num_worlds: N, at least 1.
            tasks: N tasks, one for each world; None: drawn anew for every episode.
            split: that they are drawn from.
            horizon: steps per episode; None: the family's own.
            seed: fixes tasks and resets; `seed(...)` sets another at the next `reset`.
            sim_threads: simulator threads; results do not depend on it.

        Raises:
            InputError: for sizes below 1, another number of tasks, or a split that there is not.
        """
        num_worlds = whole("num_worlds", num_worlds, least=1)
        self._env = BatchEnv(family, num_worlds, 1, horizon=horizon, sim_threads=sim_threads)
        if split not in family.splits:
            raise InputError(
                f"split '{split}' of {family.name}: allowed are {', '.join(family.splits)}"
            )
        self._redrawn = tasks is None
        self._split: Split = split
        if tasks is not None:
            self._env.set_tasks(tasks)
        self.num_faults = 0
        """Episodes in which the simulation diverged, so far."""
        self._last = torch.zeros(num_worlds, family.observation_size)
        self._controls = torch.zeros(num_worlds, len(family.action_bounds()[0]))
        nothing = torch.zeros(num_worlds, 0)
        self._begun = Start(nothing, nothing, nothing)
        """Start of the current episode of each world."""
        low, high = (bound.numpy().astype(np.float32) for bound in family.action_bounds())
        super().__init__(
            num_worlds,
            gymnasium.spaces.Box(-np.inf, np.inf, (family.observation_size,), np.float32),
            gymnasium.spaces.Box(low, high, dtype=np.float32),
        )
        self._seed_generators(whole("seed", seed, least=0))

    @property
    def family(self) -> TaskFamily:
        """The simulated family."""
        return self._env.family

    @property
    def tasks(self) -> Tasks:
        """The N tasks in force, one for each world."""
        return self._env.tasks

    def reset(self) -> NDArray[np.float32]:
        """Start an episode in every world: (N, O)."""
        if self._seeds[0] is not None:
            self._seed_generators(self._seeds[0])
            self._reset_seeds()
        self._last = self._start(None)
        return self._last.numpy().copy()

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take the controls (N, A) that `step_wait` will apply."""
        self._controls = torch.from_numpy(np.array(actions, dtype=np.float64))

    def step_wait(  # pyright: ignore[reportIncompatibleMethodOverride]  # an array, never a dict
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], Infos]:
        """One control step: observations (N, O), rewards (N,), ends (N,), infos."""
        step = self._env.step(self._controls)
        ended = step.terminated | step.truncated | step.diverged
        observations = step.observations.float()
        infos: Infos = [{} for _ in range(self.num_envs)]
        if bool(ended.any()):
            final = torch.where(step.diverged[:, None], self._last, observations)
            for world in ended.nonzero()[:, 0].tolist():
                infos[world] = {
                    "terminal_observation": final[world].numpy().copy(),
                    "TimeLimit.truncated": not bool(step.terminated[world]),
                    "task": self.tasks.describe(world),
                    "fault": bool(step.diverged[world]),
                }
            self.num_faults += int(step.diverged.sum())
            observations = self._start(ended)
        self._last = observations
        rewards = step.rewards.float().numpy().copy()
        return observations.numpy().copy(), rewards, ended.numpy(), infos

    def _start(self, ended: Tensor | None) -> Tensor:
        """New episodes in the worlds of `ended` (None: all), in new tasks where they are drawn."""
        mask = None if ended is None or bool(ended.all()) else ended
        if self._redrawn:
            count = self.num_envs if mask is None else int(mask.sum())
            drawn = self.family.sample_tasks(count, self._task_generator, self._split)
            self._env.set_tasks(drawn if mask is None else _replaced(self.tasks, mask, drawn))
        start = self._env.draw_start(self.num_envs, self._reset_generator)
        self._begun = start if mask is None else self._begun.replaced(mask, start)
        return self._env.start(start, mask).float()

    def state(self) -> dict[str, Tensor]:
        """State of the worlds by name, as copies.

        They go on bit for bit, except Gymnasium environments in the middle of an episode, whose
        state cannot be read: of those, the start of each episode is kept.
        """
        saved = {
            "tasks_generator": self._task_generator.get_state().clone(),
            "resets_generator": self._reset_generator.get_state().clone(),
            "observations": self._last.clone(),
            "begun_qpos": self._begun.qpos.clone(),
            "begun_qvel": self._begun.qvel.clone(),
            "begun_noise_seeds": self._begun.noise_seeds.clone(),
        }
        tasks = {f"task.{name}": value.clone() for name, value in self.tasks.values.items()}
        try:
            worlds = {f"world.{name}": value for name, value in self._env.state().items()}
        except InputError:
            worlds = {"running": self._env.elapsed > 0}
        return saved | tasks | worlds

    def set_state(self, state: Mapping[str, Tensor]) -> Tensor:
        """Return to a saved `state`.

        Returns:
            (N,) bool, the worlds in the middle of an episode that begin it again: none, except
            Gymnasium environments.
        """
        self._task_generator.set_state(state["tasks_generator"])
        self._reset_generator.set_state(state["resets_generator"])
        tasks = {name: state[f"task.{name}"] for name in self.tasks.values}
        self._env.set_tasks(Tasks(tasks))
        starts = (state[f"begun_{name}"] for name in ("qpos", "qvel", "noise_seeds"))
        self._begun = Start(*starts)
        self._last = self._env.start(self._begun).float()
        worlds = {name: value for name, value in state.items() if name.startswith("world.")}
        if not worlds:
            return state["running"]
        self._env.set_state({name.removeprefix("world."): v for name, v in worlds.items()})
        self._last = state["observations"].clone()
        return torch.zeros(self.num_envs, dtype=torch.bool)

    @property
    def last_observations(self) -> NDArray[np.float32]:
        """Last observation of every world: (N, O), a copy."""
        return self._last.numpy().copy()

    def _seed_generators(self, seed: int) -> None:
        tasks, resets = np.random.SeedSequence([seed, 0x5B3]).generate_state(2, np.uint32)
        self._task_generator = Generator().manual_seed(int(tasks))
        self._reset_generator = Generator().manual_seed(int(resets))

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """An attribute of this object, which all worlds share."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(
        self, attr_name: str, value: object, indices: int | Iterable[int] | None = None
    ) -> NoReturn:
        """Worlds are rows of one simulator and have no attributes of their own."""
        raise NotImplementedError(
            f"set_attr('{attr_name}'): worlds have no attributes of their own"
        )

    def env_method(
        self,
        method_name: str,
        *method_args: object,
        indices: int | Iterable[int] | None = None,
        **method_kwargs: object,
    ) -> NoReturn:
        """Worlds are rows of one simulator and have no methods of their own."""
        raise NotImplementedError(
            f"env_method('{method_name}'): worlds have no methods of their own"
        )

    def env_is_wrapped(
        self,
        wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]],
        indices: int | Iterable[int] | None = None,
    ) -> list[bool]:
        """No world is wrapped."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """No pictures: `metarl record` films a policy."""
        return [None] * self.num_envs


def _replaced(tasks: Tasks, mask: Tensor, drawn: Tasks) -> Tasks:
    """The tasks with those of `mask` replaced by the drawn ones, in order."""
    values = {name: value.clone() for name, value in tasks.values.items()}
    for name, value in values.items():
        value[mask] = drawn.values[name]
    return Tasks(values)
