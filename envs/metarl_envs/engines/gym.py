"""The engine of unmodified Gymnasium environments: one object per world, in some processes."""

from __future__ import annotations

import functools
import math
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from torch import Tensor

from metarl_envs.errors import InputError
from metarl_envs.gym_worlds.bundle import Bundle, in_worker
from metarl_envs.inputs.numbers import shown
from metarl_envs.inputs.user_functions import described

if TYPE_CHECKING:
    from metarl_envs.robots.gym import GymRobot


MANUAL: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED, "copy": False}
"""Worlds are reset by the caller alone, who copies the rows."""


class GymEngine:
    """N worlds, each a Gymnasium environment of its own, stepped one by one in every process.

    Far slower than the engine cpu, but it needs nothing beyond Gymnasium's interface. Positions are
    seeds, one float64 per world, of which `reset(seed)` makes the initial state: so every engine is
    started by the same two tensors, and no caller needs a second kind of start. Results do not
    depend on the number of processes.
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
        source = robot.source
        make = source.make if count == 1 else source.make_elsewhere
        size = self._shape[1]
        bundles = [
            functools.partial(Bundle, make, robot.row, robot.infos, size, robot.action_size, index)
            for index in range(count)
        ]
        self._vector = SyncVectorEnv(bundles, **MANUAL) if count == 1 else self._started(bundles)
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
        own = [{name: value[i] for name, value in given.items()} for i in range(self._shape[0])]
        self._ask(self._vector.set_attr, "fields", own)

    def reset(self, mask: Tensor | None, qpos: Tensor, qvel: Tensor) -> None:
        """`reset(seed)` in the worlds of `mask` (None: all), with the seeds `qpos` (N, 1)."""
        seeds = qpos[:, 0].round().long()
        if mask is not None:
            seeds = torch.where(mask, seeds, -1)
        padded = self._bundled(seeds + 1) - 1  # worlds that are not there are not reset
        rows, info = self._ask(self._vector.reset, options={"seeds": padded})
        self._take(rows, info)

    def step(self, n_substeps: int, mask: Tensor | None = None) -> None:
        """One step of the worlds of `mask`, n times over."""
        moves = torch.ones(self.num_worlds, 1, dtype=self.dtype)
        if mask is not None:
            moves = mask.to(self.dtype).unsqueeze(1)
        actions = self._bundled(torch.cat([self.data["ctrl"], moves], dim=1))
        for _ in range(n_substeps):
            rows, *_, info = self._ask(self._vector.step, actions)
            self._take(rows, info)

    def state(self) -> dict[str, Tensor]:
        """Refused: environments keep what they remember to themselves."""
        raise InputError(f"{self._robot.env_id}: a Gymnasium environment's state cannot be saved")

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Refused, as `state` is."""
        self.state()

    def faults(self) -> Tensor:
        """MuJoCo's warnings since the reset; 0 of environments without MuJoCo: (N,)."""
        return self.data["faults"].long()

    def overflow_message(self) -> str:
        """There are no limits."""
        return ""

    def host_world(self, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """One world as MuJoCo objects, for rendering: copies, mocap bodies and all.

        Raises:
            InputError: for an environment without MuJoCo, or before its first reset.
        """
        if "qpos" not in self._robot.row.sizes:
            raise InputError(f"{self._robot.env_id} is not simulated by MuJoCo")
        model, data = self._said("copy_of_world", index)
        mujoco.mj_forward(model, data)
        return model, data

    def own_picture(self, index: int) -> np.ndarray[Any, Any]:
        """The picture that a world's environment draws, (H, W, 3) uint8.

        Raises:
            InputError: for one that draws nothing, or before its first reset.
        """
        picture = self._said("picture_of_world", index)
        if not isinstance(picture, np.ndarray) or picture.shape[2:] != (3,):
            said = picture if isinstance(picture, str) else f"it returned {shown(picture)}"
            raise InputError(
                f"environment {self._robot.env_id} is not simulated by MuJoCo, so its pictures are "
                f"those of its own render() with render_mode='rgb_array', (H, W, 3) uint8: {said}"
            )
        return picture

    def _said(self, method: str, index: int) -> Any:  # noqa: ANN401 - what the bundle answers
        """The answer of the bundle that holds a world."""
        bundle, world = divmod(index, self._shape[1])
        answer = self._ask(self._vector.call, method, bundle, world)[bundle]
        if answer is None:
            raise InputError(f"{self._robot.env_id}: reset the worlds before taking pictures")
        return answer

    def _bundled(self, value: Tensor) -> np.ndarray[Any, Any]:
        """(N, ...) -> (bundles, size, ...), with zeros for worlds that are not there."""
        count, size = self._shape
        whole = torch.zeros((count * size, *value.shape[1:]), dtype=value.dtype)
        whole[: self.num_worlds] = value
        return whole.view(count, size, *value.shape[1:]).numpy()

    def _take(self, rows: np.ndarray[Any, Any], info: Mapping[str, Any]) -> None:
        """Store the rows (bundles, size, width) that the bundles report of their worlds."""
        for failure in info.get("failure", ()):
            if failure is not None:
                raise failure
        flat = torch.from_numpy(rows).view(-1, rows.shape[-1])
        self._rows.copy_(flat[: self.num_worlds])

    def _started(self, bundles: list[functools.partial[Bundle]]) -> AsyncVectorEnv:
        """Bundles in processes of their own."""
        if vars(multiprocessing.current_process()).get("_inheriting"):
            # A worker that imports a script without a guard would start workers of its own:
            # Python refuses that with a traceback. It ends here, and the parent says why.
            raise SystemExit(1)
        try:
            workers = [functools.partial(in_worker, os.getpid(), make) for make in bundles]
            return AsyncVectorEnv(workers, context="spawn", **MANUAL)
        except (EOFError, OSError):
            raise InputError(
                f"sim_threads = {len(bundles)}: worker processes of {self._robot.env_id} did not "
                "start; what they printed says why; each imports the script anew, which must be a "
                "file with its work under `if __name__ == '__main__':`; sim_threads = 1 needs none"
            ) from None
        except Exception as error:  # objects that cannot be sent raise any error
            raise InputError(
                f"sim_threads = {len(bundles)}: {self._robot.env_id} cannot be sent to worker "
                f"processes: {described(error)}; give it arguments that can be (no open files, "
                "locks or sockets), or use sim_threads = 1"
            ) from error

    def _ask(self, function: Callable[..., Any], *args: Any, **how: Any) -> Any:  # noqa: ANN401
        """A call of the vector environment."""
        try:
            return function(*args, **how)
        except (EOFError, OSError):
            assert isinstance(self._vector, AsyncVectorEnv)
            raise InputError(self._ended(self._vector)) from None

    def _ended(self, vector: AsyncVectorEnv) -> str:
        """The message about ended worker processes; the remaining ones are ended, too."""
        for process in vector.processes:
            process.join(timeout=1)
        codes = {p.exitcode for p in vector.processes if p.exitcode is not None}
        for process in vector.processes:
            process.terminate()
        vector.closed = True  # no process is left to close
        return (
            f"environment {self._robot.env_id} ended its worker process (exit code "
            f"{', '.join(map(str, sorted(codes)))}; a negative one is a signal: -9 may be a lack "
            "of memory, -11 a crash in its native code); sim_threads = 1 shows what it does, fewer "
            "threads need less memory"
        )
