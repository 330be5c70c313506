"""The CPU engine: MuJoCo's own threaded batch of worlds."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import mujoco.batch
import numpy as np
import torch
from torch import Tensor

from metarl_envs.engines.keyframes import held_data
from metarl_envs.errors import InputError
from metarl_envs.mjcf.log import ignore_mujoco_warnings
from metarl_envs.mjcf.outputs import check_outputs, stage_of


class CpuEngine:
    """N MuJoCo worlds on `mujoco.batch`, bit-identical to a plain `mj_step` loop.

    Results do not depend on `threads`. MuJoCo's automatic reset of a diverged world is switched
    off: it would turn a fault into what looks like a fresh episode.

    Where outputs are wanted, `mj_forward` follows each step, as far as they need it. It changes no
    state: the next step starts from the same state and warm start, so trajectories stay those of
    `mj_step` alone.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        num_worlds: int,
        *,
        varied: Sequence[str] = (),
        outputs: Sequence[str] = (),
        lagged_outputs: bool = False,
        keyframe: int | None = None,
        warm_start: Sequence[float] | None = None,
        threads: int = 1,
    ) -> None:
        """Makes the worlds.

        Args:
            model: the template; the engine works on a copy.
            num_worlds: N, at least 1.
            varied: model fields that differ between worlds.
            outputs: further fields of `data`, such as "xpos".
            lagged_outputs: see `MujocoRobot`.
            keyframe: number of the one that resets restore; None: none.
            warm_start: see `MujocoRobot`.
            threads: simulator threads, at least 1.

        Raises:
            InputError: for impossible sizes, or an output that cannot be read.
        """
        if num_worlds < 1:
            raise InputError(f"num_worlds = {num_worlds}: must be at least 1")
        if threads < 1:
            raise InputError(f"sim_threads = {threads}: must be at least 1")
        check_outputs(model, outputs)
        ignore_mujoco_warnings()
        self.num_worlds = num_worlds
        self.device = torch.device("cpu")
        self.dtype = torch.float64
        self.model = _with_autoreset_off(model)
        self._batch: Any = mujoco.batch.Batch(self.model, nsim=num_worlds, nthread=threads)
        self._keyframe = -1 if keyframe is None else keyframe
        self._under_way: tuple[Tensor, Tensor] | None = None  # (N, nhistory) and what resets give
        if keyframe is not None and model.nhistory:
            held = torch.from_numpy(held_data(self.model, keyframe).history.copy())
            self._under_way = torch.from_numpy(self._batch.bind("history")), held
        self._warm_start: tuple[Tensor, Tensor] | None = None  # (N, nv) and what resets give
        if warm_start is not None:
            given = torch.tensor(warm_start, dtype=self.dtype)
            self._warm_start = torch.from_numpy(self._batch.bind("qacc_warmstart")), given
        stage = mujoco.mjtStage.mjSTAGE_NONE if lagged_outputs else stage_of(outputs)
        self._after_step = int(stage)
        self._errors = torch.zeros(num_worlds, dtype=torch.long)
        self._varied = {name: torch.from_numpy(self._batch.expand(name)) for name in varied}
        self._base = {name: field[0].clone() for name, field in self._varied.items()}
        # Outputs must be bound before the first call: later they read 0 until the next one.
        self._outputs = {name: _view(self._batch.bind(name)) for name in outputs}
        rows = {n: torch.from_numpy(self._batch.bind(n)) for n in ("qpos", "qvel", "ctrl", "time")}
        self.data: Mapping[str, Tensor] = rows | self._outputs

    def base_fields(self) -> dict[str, Tensor]:
        """The template's varied fields, without a world axis: copies."""
        return {name: field.clone() for name, field in self._base.items()}

    def set_model_fields(self, fields: Mapping[str, Tensor]) -> None:
        """Write varied fields (N, ...) and run `mj_setConst` in every world."""
        for name, field in fields.items():
            self._varied[name].copy_(field)
        if fields:
            self._batch.set_const()

    def reset(self, mask: Tensor | None, qpos: Tensor, qvel: Tensor) -> None:
        """The keyframe's state at these positions and velocities, then `mj_forward`."""
        ids = None if mask is None else mask.numpy()
        self._batch.reset(ids, self._keyframe, stage=int(mujoco.mjtStage.mjSTAGE_NONE))
        self._errors[slice(None) if mask is None else mask] = 0
        for pair in (self._under_way, self._warm_start):
            if pair is not None:
                row, given = pair
                row[slice(None) if mask is None else mask] = given
        if mask is None:
            self.data["qpos"].copy_(qpos)
            self.data["qvel"].copy_(qvel)
        else:
            self.data["qpos"][mask] = qpos[mask]
            self.data["qvel"][mask] = qvel[mask]
        self._batch.forward(ids)

    def step(self, n_substeps: int, mask: Tensor | None = None) -> None:
        """Advance the worlds of `mask` by n substeps."""
        try:
            ids = None if mask is None else mask.numpy()
            self._batch.step(ids, nstep=n_substeps, stage=self._after_step)
        except mujoco.batch.SimulationError as error:
            # Those worlds kept their state and the others are complete: a fault like any other.
            self._errors[torch.from_numpy(error.ids)] += 1

    def state(self) -> dict[str, Tensor]:
        """Copies of the integration rows (with warm starts), fault counters, fields and outputs.

        Outputs belong to it because lagged ones cannot be computed from the rows, and a robot may
        remember them.
        """
        saved = {
            "rows": torch.from_numpy(self._batch.state.copy()),
            "warnings": torch.from_numpy(self._batch.warning.copy()),
            "errors": self._errors.clone(),
        }
        return saved | {n: t.clone() for n, t in (self._varied | self._outputs).items()}

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore: fields, then their derived constants, then rows, then outputs."""
        self.set_model_fields({name: state[name] for name in self._varied})
        self._batch.state[:] = state["rows"].numpy()
        self._batch.warning[:] = state["warnings"].numpy()
        self._errors.copy_(state["errors"])
        for name, output in self._outputs.items():
            output.copy_(state[name])

    def faults(self) -> Tensor:
        """MuJoCo's warnings and errors, summed over kinds: (N,)."""
        warnings = self._batch.warning[:, :, 1].sum(axis=1, dtype=np.int64)
        return torch.from_numpy(warnings) + self._errors

    def overflow_message(self) -> str:
        """No limits: memory grows with need."""
        return ""

    def host_world(self, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """One world as ordinary MuJoCo objects, for rendering and debugging: copies."""
        model, data = self._batch.get_model(index), self._batch.get_data(index)
        mujoco.mj_forward(model, data)
        return model, data


def _with_autoreset_off(model: mujoco.MjModel) -> mujoco.MjModel:
    model = copy.copy(model)
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    return model


def _view(array: np.ndarray) -> Tensor:
    """A tensor on a read-only output's memory: robots only read it, `set_state` restores it."""
    view = array.view()
    view.flags.writeable = True
    return torch.from_numpy(view)
