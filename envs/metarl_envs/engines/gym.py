"""The engine of unmodified Gymnasium environments: one object per world, in some processes."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from torch import Tensor

from metarl_envs.errors import InputError
from metarl_envs.gym_worlds import Bundle
from metarl_envs.numbers import shown

if TYPE_CHECKING:
    from metarl_envs.robots.gym import GymRobot


class GymEngine:
    """N worlds, each a Gymnasium environment of its own, stepped one by one in every process.

    Far slower than the engine cpu, but it asks nothing of the environment. "Positions" are seeds:
    an environment's initial state is what `reset(seed)` makes of one. Results do not depend on the
    number of processes.
    """

    def __init__(
        self, robot: GymRobot, num_worlds: int, *, varied: Sequence[str] = (), processes: int = 1
    ) -> None:
        """Starts the processes; one is this one.

        Args:
            robot: the environment.
            num_worlds: N, at least 1.
            varied: fields that differ between worlds.
            processes: at least 1.
        """
        if num_worlds < 1:
            raise InputError(f"num_worlds = {num_worlds}: must be at least 1")
        if processes < 1:
            raise InputError(f"sim_threads = {processes}: must be at least 1")
        self.num_worlds, self.device, self.dtype = num_worlds, torch.device("cpu"), torch.float64
        self._robot = robot
        self._base = robot.template_fields(varied)
        self._fields = {
            name: value.expand(num_worlds, *value.shape).clone()
            for name, value in self._base.items()
        }
        count = min(processes, num_worlds)
        self._shape = (count, math.ceil(num_worlds / count))  # bundles, worlds in each
        bundles = [
            functools.partial(
                Bundle,
                robot.env_id,
                robot.env_kwargs,
                robot.row,
                robot.infos,
                self._shape[1],
                robot.action_size,
                index,
            )
            for index in range(count)
        ]
        disabled = AutoresetMode.DISABLED
        self._vector = (
            SyncVectorEnv(bundles, autoreset_mode=disabled)
            if count == 1
            else AsyncVectorEnv(bundles, context="spawn", autoreset_mode=disabled)
        )
        rows = torch.zeros((num_worlds, robot.row.width), dtype=self.dtype)
        data = {name: rows[:, at] for name, at in robot.row.columns().items()}
        scalars = ("reward", "terminated", "truncated", "faults", *robot.infos)
        self._rows = rows
        self.data: Mapping[str, Tensor] = {
            name: value[:, 0] if name in scalars else value for name, value in data.items()
        } | {"ctrl": torch.zeros((num_worlds, robot.action_size), dtype=self.dtype)}

    def base_fields(self) -> dict[str, Tensor]:
        """The environment's own values of the varied fields: copies."""
        return {name: value.clone() for name, value in self._base.items()}

    def set_model_fields(self, fields: Mapping[str, Tensor]) -> None:
        """Write varied fields (N, ...) into the environments."""
        if not fields:
            return
        for name, value in fields.items():
            self._fields[name].copy_(value)
        given = {name: self._bundled(value) for name, value in self._fields.items()}
        self._vector.set_attr(
            "fields",
            [{name: value[i] for name, value in given.items()} for i in range(self._shape[0])],
        )

    def reset(self, mask: Tensor | None, qpos: Tensor, qvel: Tensor) -> None:
        """`reset(seed)` in the worlds of `mask` (None: all), with the seeds `qpos` (N, 1)."""
        seeds = qpos[:, 0].round().long()
        if mask is not None:
            seeds = torch.where(mask, seeds, -1)
        padded = self._bundled(seeds + 1) - 1  # worlds that are not there are not reset
        rows, _ = self._vector.reset(options={"seeds": padded})
        self._take(rows)

    def step(self, n_substeps: int, mask: Tensor | None = None) -> None:
        """One step of the worlds of `mask`, n times over."""
        moves = torch.ones(self.num_worlds, 1, dtype=self.dtype)
        if mask is not None:
            moves = mask.to(self.dtype).unsqueeze(1)
        actions = self._bundled(torch.cat([self.data["ctrl"], moves], dim=1))
        for _ in range(n_substeps):
            self._take(self._vector.step(actions)[0])

    def state(self) -> dict[str, Tensor]:
        """Refused: environments keep what they remember to themselves."""
        raise InputError(f"{self._robot.env_id}: a Gymnasium environment's state cannot be saved")

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Refused, as `state` is."""
        self.state()

    def faults(self) -> Tensor:
        """MuJoCo's warnings since the reset; 0 of environments without MuJoCo: (N,)."""
        return self.data["faults"].long()

    def complaint(self) -> str:
        """There are no limits."""
        return ""

    def host_world(self, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """One world as MuJoCo objects, for rendering: copies, mocap bodies and all.

        Raises:
            InputError: for an environment without MuJoCo, or before its first reset.
        """
        if "qpos" not in self._robot.row.sizes:
            raise InputError(f"{self._robot.env_id} is not simulated by MuJoCo")
        model, data = self._ask("copy_of_world", index)
        mujoco.mj_forward(model, data)
        return model, data

    def own_picture(self, index: int) -> np.ndarray[Any, Any]:
        """What a world's environment draws of itself, (H, W, 3) uint8.

        Raises:
            InputError: for one that draws nothing, or before its first reset.
        """
        picture = self._ask("picture_of_world", index)
        if not isinstance(picture, np.ndarray) or picture.shape[2:] != (3,):
            said = picture if isinstance(picture, str) else f"it returned {shown(picture)}"
            raise InputError(
                f"environment {self._robot.env_id} is not simulated by MuJoCo, so its pictures are "
                f"those of its own render() with render_mode='rgb_array', (H, W, 3) uint8: {said}"
            )
        return picture

    def _ask(self, method: str, index: int) -> Any:  # noqa: ANN401 - what the bundle answers
        """What the bundle that holds a world says of it."""
        bundle, world = divmod(index, self._shape[1])
        answer = self._vector.call(method, bundle, world)[bundle]
        if answer is None:
            raise InputError(f"{self._robot.env_id}: reset the worlds before taking pictures")
        return answer

    def _bundled(self, value: Tensor) -> np.ndarray[Any, Any]:
        """(N, ...) -> (bundles, size, ...), with zeros for worlds that are not there."""
        count, size = self._shape
        whole = torch.zeros((count * size, *value.shape[1:]), dtype=value.dtype)
        whole[: self.num_worlds] = value
        return whole.view(count, size, *value.shape[1:]).numpy()

    def _take(self, rows: np.ndarray[Any, Any]) -> None:
        """Note what the bundles (bundles, size, width) say of their worlds."""
        flat = torch.from_numpy(rows).view(-1, rows.shape[-1])
        self._rows.copy_(flat[: self.num_worlds])
