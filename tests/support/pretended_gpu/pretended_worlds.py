"""Environments on the pretended GPU: the engine warp without Warp, whose physics is a small drift.

All else of the engine is the real one, and so is the environment.
"""

from __future__ import annotations

import torch
from pretended_device import GPU, NOTES, GpuGenerator
from support.recorded_operations import every_time

from metarl.methods import setup
from metarl.outer import model_fit, pearl
from metarl.rollouts import collect as rollouts
from metarl_envs import AnalyticRobot, batch_env
from metarl_envs.engines import AnalyticEngine
from metarl_envs.engines.warp import WarpEngine
from metarl_envs.mjcf.fields import read_field


def make_engine(robot, num_worlds, *, varied, threads, engine, device):
    if isinstance(robot, AnalyticRobot):
        return AnalyticEngine(
            robot.dynamics, num_worlds, nq=robot.num_positions, nu=robot.action_size, device=device
        )
    return warp_engine(robot, num_worlds, varied, device)


def warp_engine(robot, N, varied, device):
    """A `WarpEngine` with torch's tensors instead of views of Warp's."""
    model, made = robot.load_model(), WarpEngine.__new__(WarpEngine)

    def zeros(*shape, dtype=torch.float32):
        return torch.zeros(N, *shape, dtype=dtype, device=device)

    made.num_worlds, made.device, made.dtype, made.model = N, device, torch.float32, model
    made._limits = {"max_contacts": 1, "max_constraints": 1}
    made._reset_mask_view = zeros(dtype=torch.bool)
    made._state = {
        "time": zeros(),
        "qpos": zeros(model.nq),
        "qvel": zeros(model.nv),
        "ctrl": zeros(model.nu),
    }
    made._faults = {"overflow": zeros(dtype=torch.int32), "bad_control": zeros(dtype=torch.bool)}
    made._outputs = {name: zeros(model.nbody, 3) for name in robot.outputs}
    made._varied = {name: zeros(*read_field(model, name).shape) for name in varied}
    made._derived, made._keyframe, made._carried, made._cvel = {}, {}, {}, None
    made.data = made._state | made._outputs

    def drift(name, count, work):
        if name == "step":
            made._state["qpos"].add_(0.01)
            made._state["qvel"].add_(0.1)

    made._run = drift
    return made


def stream_on(device, generator):
    if device.type == "cpu":
        return generator
    return GpuGenerator(int(torch.randint(2**62, (), generator=generator)))


def noted_twice(parts):
    """A capture that adds to `parts` what the work notes when it is done a second time."""

    def capture(work):
        work()
        NOTES.clear()
        work()
        parts.append(NOTES.copy())
        return work

    return capture


def use_pretended_gpu(monkeypatch):
    """Training, evaluation and environments work there from now on."""
    monkeypatch.setattr(batch_env, "make_engine", make_engine)
    for module in (rollouts, pearl, model_fit):
        monkeypatch.setattr(module, "stream_on", stream_on)
    monkeypatch.setattr(rollouts, "captures_on", lambda device: every_time)
    monkeypatch.setattr(setup, "device_named", lambda name: GPU)
