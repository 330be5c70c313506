"""A task family on an engine: M x E worlds, torch tensors in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from metarl_envs.engines import EngineName, make_engine
from metarl_envs.errors import InputError
from metarl_envs.family import TaskFamily
from metarl_envs.inputs.numbers import INT, INT64, shown, tensor, whole
from metarl_envs.mjcf.servos import holding_controls
from metarl_envs.parameters import model_fields, varied_fields
from metarl_envs.perturbations import Perturber
from metarl_envs.robots.base import State, Transition
from metarl_envs.tasks import Tasks


@dataclass(frozen=True)
class BatchStep:
    """Result of one control step of N worlds, in task-major order."""

    observations: Tensor  # (N, O)
    rewards: Tensor  # (N,)
    terminated: Tensor  # (N,) the MDP ended
    truncated: Tensor  # (N,) the horizon was reached
    diverged: Tensor  # (N,) the simulation diverged; observation and reward are zeroed
    quantity: Tensor  # (N,) the family's physical quantity
    transition: Transition
    """The step's raw material, for quantities; live until the next call."""


@dataclass(frozen=True)
class Start:
    """Initial states of N episodes."""

    qpos: Tensor  # (N, nq)
    qvel: Tensor  # (N, nv)
    noise_seeds: Tensor  # (N,)

    @staticmethod
    def concatenate(parts: Sequence[Start]) -> Start:
        """All of them, in order."""
        columns = zip(*((p.qpos, p.qvel, p.noise_seeds) for p in parts), strict=True)
        return Start(*(torch.cat(column) for column in columns))

    def of(self, episodes: Tensor) -> Start:
        """Those of some episodes, by their numbers."""
        return Start(self.qpos[episodes], self.qvel[episodes], self.noise_seeds[episodes])

    def replaced(self, mask: Tensor, start: Start) -> Start:
        """The same with the rows of `mask` (N,) taken from another one of N episodes."""
        rows = mask[:, None]
        return Start(
            torch.where(rows, start.qpos, self.qpos),
            torch.where(rows, start.qvel, self.qvel),
            torch.where(mask, start.noise_seeds, self.noise_seeds),
        )


class BatchEnv:
    """`num_tasks` x `episodes_per_task` worlds of one family; world m*E + e runs task m.

    There is no automatic reset: the caller says which worlds to reset and which to step.
    """

    def __init__(
        self,
        family: TaskFamily,
        num_tasks: int,
        episodes_per_task: int,
        *,
        horizon: int | None = None,
        sim_threads: int = 1,
        engine: EngineName = "cpu",
        device: torch.device | None = None,
    ) -> None:
        """Makes the worlds, all with the nominal task.

        Args:
            family: what is simulated.
            num_tasks: M.
            episodes_per_task: E.
            horizon: steps per episode; None: the family's own.
            sim_threads: threads of the engine cpu.
            engine: what steps the worlds; `auto` is warp where `device` is a GPU.
            device: where the learner works (None: the CPU); the engine warp works there too.

        Raises:
            InputError: for sizes below 1, or an engine that cannot be used.
        """
        self.family = family
        if not isinstance(family, TaskFamily):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(
                f"family = {shown(family)}: must be a TaskFamily, such as what load_family gives"
            )
        self.num_tasks = whole("num_tasks", num_tasks, least=1)
        self.episodes_per_task = whole("episodes_per_task", episodes_per_task, least=1)
        steps = family.horizon if horizon is None else horizon
        self.horizon = whole("horizon", steps, least=1, most=INT64)
        self.num_worlds = whole(
            "num_tasks * episodes_per_task", self.num_tasks * self.episodes_per_task, most=INT
        )
        robot = family.robot
        self.engine = make_engine(
            robot,
            self.num_worlds,
            varied=varied_fields(family.parameters),
            threads=whole("sim_threads", sim_threads, least=1, most=INT),
            engine=engine,
            device=device or torch.device("cpu"),
        )
        self.action_low, self.action_high = family.action_bounds()
        self._perturber = Perturber(
            {p.name: p.perturbation for p in family.parameters if p.perturbation},
            self.num_worlds,
            _no_action(family),
            self.device,
        )
        self._dt_s = robot.dt_s
        qpos, qvel = robot.initial_state()
        self._initial = (
            qpos.to(self.device, self.engine.dtype),
            qvel.to(self.device, self.engine.dtype),
        )
        # Written in place from here on, since captured steps keep their addresses.
        controls = self.engine.data["ctrl"]
        shape = (self.num_worlds, len(self.action_low))
        self._actions = controls if robot.controls is None else controls.new_zeros(shape)
        kept = None if robot.kept is None else robot.kept(self.engine.data)
        self._kept = None if kept is None else torch.zeros_like(kept)
        self._elapsed = torch.zeros(self.num_worlds, dtype=torch.long, device=self.device)
        self._before = {name: torch.zeros_like(self.engine.data[name]) for name in robot.remembered}
        nominal = family.nominal_tasks(self.num_tasks)
        self._task_values = {
            name: value.to(self._initial[0])
            for name, value in nominal.repeat(self.episodes_per_task).values.items()
        }
        observed = family.observed_task(nominal).repeat_interleave(self.episodes_per_task, dim=0)
        self._observed_task = observed.to(self._initial[0])
        self.set_tasks(nominal)

    @property
    def device(self) -> torch.device:
        """The device of the engine's tensors."""
        return self.engine.device

    @property
    def measures_success(self) -> bool:
        """True if the family's quantity is a flag of success."""
        return self.family.measures_success

    @property
    def tasks(self) -> Tasks:
        """The M tasks in force."""
        return self._tasks

    def set_tasks(self, tasks: Tasks) -> None:
        """Give world m*E + e the m-th task. Takes effect on physics at once; resets nothing.

        Raises:
            InputError: if there are not exactly `num_tasks` tasks, or one is out of range.
        """
        if len(tasks) != self.num_tasks:
            raise InputError(f"{len(tasks)} tasks given, this environment runs {self.num_tasks}")
        self.family.check_tasks(tasks)
        repeated = tasks.repeat(self.episodes_per_task).values
        values = {name: value.to(self.device) for name, value in repeated.items()}
        fields = model_fields(self.family.parameters, self.engine.base_fields(), values)
        self.engine.set_model_fields(fields)
        self._tasks = tasks
        for name, value in self._task_values.items():
            value.copy_(values[name])
        observed = self.family.observed_task(tasks).repeat_interleave(self.episodes_per_task, dim=0)
        self._observed_task.copy_(observed)

    def reset(self, generator: Generator, mask: Tensor | None = None) -> Tensor:
        """Start new episodes in the worlds of `mask` (None: all); observations (N, O).

        Noise is drawn for all worlds whatever the mask, so the stream does not depend on it.
        """
        return self.start(self.draw_start(self.num_worlds, generator), mask)

    def reset_part(self, generator: Generator, total: int, worlds: Tensor) -> Tensor:
        """Start new episodes as rows `worlds` (N,) of a batch of `total` would; (N, O)."""
        return self.start(self.draw_start(total, generator).of(worlds))

    def draw_start(self, num_worlds: int, generator: Generator) -> Start:
        """Starting states for `num_worlds` episodes."""
        num_worlds = whole("num_worlds", num_worlds, least=1)
        qpos, qvel = self.family.robot.reset_state(*self._initial, num_worlds, generator)
        return Start(qpos, qvel, self._perturber.draw_seeds(num_worlds, generator))

    def start(self, start: Start, mask: Tensor | None = None) -> Tensor:
        """Start new episodes in the worlds of `mask` (None: all); observations (N, O).

        Rows of `start` (N, ...) outside the mask are ignored.
        """
        mask = self._mask(mask)
        qpos = self._perturber.started(start.qpos, self._task_values)
        self.engine.reset(mask, qpos, start.qvel)
        self._perturber.reset(start.noise_seeds, mask)
        self._elapsed[slice(None) if mask is None else mask] = 0
        self._keep(mask)
        return self.observation()

    def step(self, actions: Tensor, mask: Tensor | None = None) -> BatchStep:
        """Apply controls (N, A) to the worlds of `mask` (None: all) for one control step.

        Where the task delays actions, earlier ones are applied instead. Controls are used as
        given; MuJoCo clamps forces to the actuator range, rewards see the raw values (as Gymnasium
        does). Rows outside the mask keep state and observation; their rewards and flags are
        undefined.
        """
        mask = self._mask(mask)
        self.begin_step(actions, mask)
        self.simulate(mask)
        return self.end_step(mask)

    def advance(self, actions: Tensor, mask: Tensor | None = None) -> Transition:
        """The physics of `step` alone; its result is live until the next call."""
        mask = self._mask(mask)
        self.begin_step(actions, mask)
        self.simulate(mask)
        return self._transition(mask)

    def begin_step(self, actions: Tensor, mask: Tensor | None = None) -> None:
        """First part of `step`, before the engine's own: remember the state, set the controls."""
        for name, value in self._before.items():
            value.copy_(self.engine.data[name])
        given = actions if isinstance(actions, Tensor) else tensor("actions", actions)
        if given.shape != self._actions.shape:
            raise InputError(
                f"actions have shape {tuple(given.shape)}: must be "
                f"{tuple(self._actions.shape)}, a row for each world"
            )
        self._keep(mask)
        arriving = self._perturber.arriving(given, self._task_values, mask)
        self._actions.copy_(arriving)
        if self.family.robot.controls is not None:
            data = self.engine.data
            for name, value in self.family.robot.controls(data, self._actions).items():
                _write(data[name], value, mask)  # a mocap pose is state: others keep theirs

    def simulate(self, mask: Tensor | None = None) -> None:
        """The engine's own step: `frame_skip` steps of the simulator."""
        self.engine.step(self.family.robot.frame_skip, mask)

    def end_step(self, mask: Tensor | None = None) -> BatchStep:
        """Last part of `step`, after the engine's own: observations, rewards, ends, quantity.

        On a GPU neither half waits for it or makes a tensor that the next step reads, so either
        can be captured as a graph. The engine's step between them is a graph of its own.
        """
        transition = self._transition(mask)
        observations = self._observed()  # copied below, like rewards
        rewards = self.family.reward(transition)
        terminated = self.family.termination(transition)
        # A sum with a NaN or an infinity in it is not finite: one pass instead of one per entry.
        finite = torch.isfinite(observations.sum(dim=1) + rewards)
        diverged = (self.engine.faults() > 0) | ~finite
        return BatchStep(
            torch.where(diverged[:, None], 0.0, observations),
            torch.where(diverged, 0.0, rewards),
            terminated & ~diverged,
            self._truncated(),
            diverged,
            # A copy: it may be a view of the state, such as qvel[:, 0], and the state goes on.
            self.family.robot.quantities[self.family.quantity](transition).clone(),
            transition,
        )

    def overflow_message(self) -> str:
        """The robot and its engine's `overflow_message`; "" if there is none.

        Waits for a GPU.
        """
        message = self.engine.overflow_message()
        return f"{self.family.robot.name}: {message}" if message else ""

    def observation(self) -> Tensor:
        """The current observations of the policies, a copy: (N, O).

        Gain, noise and bias of the task are in them; the observed part of the task follows without.
        """
        return self._observed().clone()

    def _observed(self) -> Tensor:
        """The same; it may be a part of the state, and live."""
        observed = self.family.robot.observation(self.seen)
        observed = self._perturber.observed(observed, self._task_values, self._elapsed)
        if not self._observed_task.shape[1]:
            return observed
        return torch.cat([observed, self._observed_task.to(observed.dtype)], dim=1)

    @property
    def seen(self) -> State:
        """The state as the robot's observation reads it; live."""
        data = self.engine.data
        return data if self._kept is None else {**data, "kept": self._kept}

    def state(self) -> dict[str, Tensor]:
        """All that the worlds need to go on bit for bit in the tasks in force: copies.

        Raises:
            InputError: for Gymnasium environments, which keep what they remember to themselves.
        """
        engine = {f"engine.{name}": value for name, value in self.engine.state().items()}
        kept = {} if self._kept is None else {"kept": self._kept.clone()}
        return engine | self._perturber.state() | {"elapsed": self._elapsed.clone()} | kept

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Return to a saved `state`, once its tasks are in force again (`set_tasks`).

        Raises:
            InputError: as for `state`.
        """
        names = (name for name in state if name.startswith("engine."))
        self.engine.set_state({name.removeprefix("engine."): state[name] for name in names})
        self._perturber.set_state(state)
        self._elapsed.copy_(state["elapsed"])
        if self._kept is not None:
            self._kept.copy_(state["kept"])

    @property
    def elapsed(self) -> Tensor:
        """Control steps since each world's reset: (N,), live."""
        return self._elapsed

    def _mask(self, given: Tensor | None) -> Tensor | None:
        """A mask (N,) of truth values, whatever type of row it was given as.

        Raises:
            InputError: for anything else, such as numbers of worlds.
        """
        if given is None:
            return None
        mask: Any = given if isinstance(given, Tensor) else np.asarray(given)
        if mask.dtype not in (torch.bool, np.bool_) or mask.shape != (self.num_worlds,):
            raise InputError(
                f"mask = {shown(given)}: must be True or False for each of {self.num_worlds} worlds"
            )
        return torch.as_tensor(mask)

    def _keep(self, mask: Tensor | None) -> None:
        """Remember, for the next observation, the state as it is in the worlds of `mask`."""
        if self._kept is not None:
            assert self.family.robot.kept is not None
            _write(self._kept, self.family.robot.kept(self.engine.data), mask)

    def _transition(self, mask: Tensor | None) -> Transition:
        """Count the step that the engine has done; what it was."""
        self._elapsed += 1 if mask is None else mask.long()
        data = self.engine.data
        return Transition(self._before, data, self._actions, self._dt_s, self._task_values)

    def _truncated(self) -> Tensor:
        """At the horizon, or where a Gymnasium environment says so: (N,)."""
        late = self._elapsed >= self.horizon
        if self.family.robot.source is not None:
            return late | (self.engine.data["truncated"] != 0)
        return late


def _write(rows: Tensor, values: Tensor, mask: Tensor | None) -> None:
    """Set the rows (N, ...) of `mask` (None: all) to those of `values`, in place."""
    if mask is not None:
        values = torch.where(mask.view(-1, *[1] * (rows.dim() - 1)), values, rows)
    rows.copy_(values)


def _no_action(family: TaskFamily) -> Tensor:
    """Actions before a late first one arrives: (A,) float64.

    They are the keyframe's controls; without one, position servos hold the model's initial pose,
    and others get 0, or the nearest that is allowed. Actions that are no controls are in the
    middle.
    """
    robot = family.robot
    if robot.controls is not None:
        return family.middle_action()
    held = robot.keyframe_controls()
    if held is not None:
        return held
    low, high = family.action_bounds()
    if robot.xml is None:
        return torch.zeros_like(low).clamp(low, high)
    pose = robot.initial_state()[0].numpy()
    return torch.from_numpy(holding_controls(robot.load_model(), pose)).clamp(low, high)
