"""The GPU engine: `mujoco_warp` worlds in single precision, on a GPU or on Warp's CPU device."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence

import mujoco
import mujoco_warp as mjw
import torch
import warp as wp
from torch import Tensor

from metarl_envs.engines.garbage import without_garbage_collection
from metarl_envs.engines.keyframes import held_data
from metarl_envs.engines.warp_controls import note_bad_controls
from metarl_envs.engines.warp_model import NEED_SET_CONST, batched_model, write_field
from metarl_envs.engines.warp_outputs import live_outputs
from metarl_envs.errors import InputError
from metarl_envs.mjcf.fields import read_field
from metarl_envs.mjcf.log import ignore_mujoco_warnings
from metarl_envs.mjcf.outputs import STATE, check_outputs, need_forward

KEYFRAME = ("time", "ctrl", "act", "mocap_pos", "mocap_quat", "history")
"""State of a keyframe beside positions and velocities."""
MAX_VALUE = 1e10
"""A larger position or velocity is a fault, as in C MuJoCo (mjMAXVAL)."""
CAPACITY = {
    "max_constraints": mjw.OverflowType.NEFC | mjw.OverflowType.NJMAX_NNZ,
    "max_contacts": (
        mjw.OverflowType.BROADPHASE | mjw.OverflowType.NARROWPHASE | mjw.OverflowType.CCD
    ),
}
"""Bits of `overflow` that mean a limit was too low. Others, such as the solver's iteration limit,
are no loss: C MuJoCo stops there too."""


class WarpEngine:
    """N worlds on `mujoco_warp`, which has no notion of stepping or resetting only some of them.

    So every call runs all worlds, and worlds outside a mask are restored. Tensors in `data` are
    views of Warp's memory. Steps, resets and refreshes are graphs, captured at first use (on a CPU
    too, where one takes a tenth of the time of single launches). On a GPU all work is queued on
    torch's current stream, which orders it with the learner's.
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
        max_contacts: int = 32,
        max_constraints: int = 128,
        device: torch.device | None = None,
    ) -> None:
        """Makes the worlds; on a GPU the memory that they take stays as it is afterwards.

        Args:
            model: the template; the engine works on a copy.
            num_worlds: N, at least 1.
            varied: model fields that differ between worlds.
            outputs: further fields of `data`, such as "xpos".
            lagged_outputs: see `MujocoRobot`.
            keyframe: number of the one that resets restore; None: none.
            warm_start: see `MujocoRobot`.
            max_contacts: per world, on average over the worlds.
            max_constraints: rows of the constraint Jacobian, in each world.
            device: a CUDA device, or the CPU.

        Raises:
            InputError: for impossible sizes, or a model or field that mujoco_warp does not have.
        """
        sizes = {
            "num_worlds": num_worlds,
            "max_contacts": max_contacts,
            "max_constraints": max_constraints,
        }
        for name, size in sizes.items():
            if size < 1:
                raise InputError(f"{name} = {size}: must be at least 1")
        check_outputs(model, outputs)
        ignore_mujoco_warnings()
        wp.config.log_level = wp.LOG_WARNING  # no banner, no list of compiled kernels
        wp.init()
        self.num_worlds = num_worlds
        self.device = device or torch.device("cpu")
        self.dtype = torch.float32
        self.model = model
        self._limits = sizes
        # As a string: of a torch.device Warp uses the index, and that of "cuda" is None.
        self._warp_device = wp.device_from_torch(str(self.device))
        self._graphs: dict[tuple[str, int], wp.Graph] = {}
        with wp.ScopedDevice(self._warp_device):
            self._model, self._varied, self._derived = batched_model(model, num_worlds, varied)
            self._data = mjw.make_data(
                model, nworld=num_worlds, nconmax=max_contacts, njmax=max_constraints
            )
            self._reset_mask = wp.zeros(num_worlds, dtype=bool)
            self._bad_control = wp.zeros(num_worlds, dtype=bool)
            wp.synchronize_device()  # what was made on Warp's stream is there for torch's
        self._reset_mask_view = wp.to_torch(self._reset_mask)
        state = {name: wp.to_torch(getattr(self._data, name)) for name in STATE}
        self._state = {name: value for name, value in state.items() if value.numel()}
        self._faults = {
            "overflow": wp.to_torch(self._data.overflow),
            "bad_control": wp.to_torch(self._bad_control),
        }
        self._outputs = live_outputs(self._data, model, outputs)
        # mujoco_warp's equality constraints read body velocities that the call before has left, so
        # these are state: without them here, a mask, a restore or an output would change a motion.
        self._cvel = wp.clone(self._data.cvel) if model.neq else None
        self._carried = {} if self._cvel is None else {"carried.cvel": wp.to_torch(self._cvel)}
        self._forward_after_step = need_forward(outputs) and not lagged_outputs
        self._keyframe = _keyframe_rows(model, keyframe, self.device)
        if warm_start is not None:
            given = torch.tensor(warm_start, dtype=self.dtype, device=self.device)
            self._keyframe["qacc_warmstart"] = given
        rows = {name: self._state[name] for name in ("qpos", "qvel", "ctrl", "time")}
        self.data: Mapping[str, Tensor] = rows | self._outputs

    def base_fields(self) -> dict[str, Tensor]:
        """The template's varied fields, without a world axis: copies, float64, on the device.

        What is computed from them is rounded to single precision once, at the end.
        """
        return {name: read_field(self.model, name).to(self.device) for name in self._varied}

    def set_model_fields(self, fields: Mapping[str, Tensor]) -> None:
        """Write varied fields (N, ...) and refresh what is derived from them, in every world."""
        for name, field in fields.items():
            self._varied[name].copy_(field)
        if NEED_SET_CONST & set(fields):
            every = torch.ones_like(self._reset_mask_view)
            with self._unchanged(self._outputs, every):  # it leaves them at the initial pose
                self._run("set_const", 1, lambda: mjw.set_const(self._model, self._data))

    def reset(self, mask: Tensor | None, qpos: Tensor, qvel: Tensor) -> None:
        """The keyframe's state at these positions and velocities, then `mj_forward`."""
        chosen = torch.ones_like(self._reset_mask_view) if mask is None else mask
        self._reset_mask_view.copy_(chosen)

        def forward() -> None:
            mjw.forward(self._model, self._data)
            if self._cvel is not None:
                wp.copy(self._cvel, self._data.cvel)

        kept = self._outputs | self._carried
        with self._unchanged(kept, None if mask is None else ~mask):
            self._run("reset", 1, lambda: mjw.reset_data(self._model, self._data, self._reset_mask))
            self._faults["bad_control"] &= ~chosen
            for name, value in (self._keyframe | {"qpos": qpos, "qvel": qvel}).items():
                row = self._state[name]
                of_world = chosen.view(-1, *[1] * (row.dim() - 1))
                row.copy_(torch.where(of_world, value.to(row), row))
            self._run("forward", 1, forward)

    def step(self, n_substeps: int, mask: Tensor | None = None) -> None:
        """Advance the worlds of `mask` by n substeps."""

        def substeps() -> None:
            note_bad_controls(self._data.ctrl, self._bad_control)
            if self._cvel is not None:
                wp.copy(self._data.cvel, self._cvel)
            for _ in range(n_substeps):
                mjw.step(self._model, self._data)
            if self._cvel is not None:
                wp.copy(self._cvel, self._data.cvel)
            if self._forward_after_step:
                mjw.forward(self._model, self._data)

        kept = self._state | self._carried | self._faults | self._outputs
        with self._unchanged(kept, None if mask is None else ~mask):
            self._run("step", n_substeps, substeps)

    def state(self) -> dict[str, Tensor]:
        """Copies of state, varied and derived fields, and outputs."""
        return {name: value.clone() for name, value in self._all().items()}

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Return to a saved state; derived fields are restored, not computed again."""
        for name, value in self._all().items():
            value.copy_(state[name])

    def faults(self) -> Tensor:
        """1 where state or controls were not finite, or contacts or constraints were dropped."""
        valid = (self._state["qpos"].abs() < MAX_VALUE).all(dim=1)
        valid &= (self._state["qvel"].abs() < MAX_VALUE).all(dim=1)
        dropped = (self._faults["overflow"] & int(sum(CAPACITY.values()))) != 0
        return (~valid | dropped | self._faults["bad_control"]).long()

    def overflow_message(self) -> str:
        """Limits that were too low since the last resets, and how to raise them; "" if none.

        Waits for the device: to be asked once per episode, not at every step.
        """
        return "; ".join(
            f"{name} = {self._limits[name]} was too low for some worlds, whose episodes are left "
            f"out as faults: raise {name} of the robot"
            for name, bits in CAPACITY.items()
            if bool((self._faults["overflow"] & int(bits)).any())
        )

    def host_world(self, index: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """One world as ordinary MuJoCo objects, for rendering and debugging: copies."""
        model = copy.copy(self.model)
        for name, field in self._varied.items():
            write_field(model, name, field[index].double().cpu().numpy())
        data = mujoco.MjData(model)
        mujoco.mj_setConst(model, data)
        for name, value in self._state.items():
            if name == "time":
                data.time = float(value[index])
            else:
                getattr(data, name)[:] = value[index].cpu().numpy()
        mujoco.mj_forward(model, data)
        return model, data

    def _all(self) -> dict[str, Tensor]:
        state = self._state | self._carried | self._faults
        return state | self._varied | self._derived | self._outputs

    @contextlib.contextmanager
    def _unchanged(self, tensors: Mapping[str, Tensor], worlds: Tensor | None) -> Iterator[None]:
        """Put the rows of `worlds` (N,) back afterwards; None: of no world."""
        if worlds is None:
            yield
            return
        before = {name: value.clone() for name, value in tensors.items()}
        yield
        for name, value in tensors.items():
            keep = worlds.view(-1, *[1] * (value.dim() - 1))
            value.copy_(torch.where(keep, before[name], value))

    def _run(self, name: str, count: int, work: Callable[[], None]) -> None:
        """Do Warp's work by a graph, recorded at first: a launch instead of hundreds."""
        # Warp works on torch's current stream here, so that nothing has to wait for anything.
        stream = wp.stream_from_torch(self.device) if self.device.type == "cuda" else None
        with wp.ScopedDevice(self._warp_device), wp.ScopedStream(stream, sync_enter=False):
            if (name, count) not in self._graphs:
                self._graphs[name, count] = self._recorded(work)
            wp.capture_launch(self._graphs[name, count], stream=stream)

    def _recorded(self, work: Callable[[], None]) -> wp.Graph:
        """The work as a graph. Does not change the state.

        A graph remembers addresses, so no array of the model or data may be replaced after this.
        """
        before = self.state()
        work()  # loads and compiles its kernels, which old drivers cannot while recording
        # torch's usual stream is the legacy one, which cannot be recorded: record on another.
        other = wp.Stream(self._warp_device) if self._warp_device.is_cuda else None
        wp.synchronize_device(self._warp_device)
        with (
            without_garbage_collection(),
            wp.ScopedStream(other),
            wp.ScopedCapture(self._warp_device, stream=other) as capture,
        ):
            work()
        self.set_state(before)
        wp.synchronize_device(self._warp_device)
        assert capture.graph is not None
        return capture.graph


def _keyframe_rows(
    model: mujoco.MjModel, keyframe: int | None, device: torch.device
) -> dict[str, Tensor]:
    """State that a keyframe sets beside positions and velocities, float32: (...).

    Without a keyframe it is empty: the model's defaults may differ between worlds.
    """
    if keyframe is None:
        return {}
    data = held_data(model, keyframe)
    rows = {name: torch.as_tensor(getattr(data, name)) for name in KEYFRAME}
    return {name: row.to(device, torch.float32) for name, row in rows.items() if row.numel()}
