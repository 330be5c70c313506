"""Worlds for the tests of the Warp engine: few sizes, so that few kernels are compiled."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import torch
from torch import Generator

from metarl_envs.engines import CpuEngine

# A fixed folder, so that a second run compiles nothing; read when Warp is first imported.
os.environ.setdefault("WARP_CACHE_PATH", str(Path(__file__).parents[2] / ".warp_cache"))
needs_warp = pytest.mark.skipif(
    importlib.util.find_spec("mujoco_warp") is None,
    reason="mujoco-warp is not installed: pip install '.[gpu]'",
)

WORLDS = 16
VARIED = (
    "body_mass",
    "body_inertia",
    "geom_friction",
    "dof_damping",
    "actuator_gear",
    "opt.gravity",
)
ENGINES = {}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def warp_engine(robot, device):
    """The one engine of a robot and device that all tests share; each starts from `start`."""
    if (robot.name, device) not in ENGINES:
        ENGINES[robot.name, device] = make_warp_engine(robot, device)
    return ENGINES[robot.name, device]


def make_warp_engine(robot, device):
    from metarl_envs.engines.warp import WarpEngine

    return WarpEngine(
        robot.load_model(),
        WORLDS,
        varied=VARIED,
        outputs=("xpos",),
        device=torch.device(device),
    )


def cpu_engine(robot):
    return CpuEngine(robot.load_model(), WORLDS, varied=VARIED, outputs=("xpos",))


def random_fields(engine, seed=0):
    """Every varied field of every world scaled by 0.5 to 1.5, inertia with its body's mass."""
    generator = Generator().manual_seed(seed)
    base = {name: field.cpu() for name, field in engine.base_fields().items()}
    fields = {}
    for name, field in base.items():
        shape = (WORLDS, field.shape[0], *([1] * (field.dim() - 1)))
        fields[name] = field * (torch.rand(shape, generator=generator, dtype=torch.float64) + 0.5)
    ratio = fields["body_mass"] / base["body_mass"].clamp(min=1e-9)
    fields["body_inertia"] = base["body_inertia"] * ratio.unsqueeze(-1)
    return fields


def start(engine, robot, *, seed=0, fields=None):
    """Random physics and a random initial state, from the seed alone."""
    engine.set_model_fields(
        {n: f.to(engine.device) for n, f in (fields or random_fields(engine, seed)).items()}
    )
    qpos, qvel = robot.reset_state(
        *robot.initial_state(), WORLDS, Generator().manual_seed(seed + 1)
    )
    engine.reset(None, qpos.to(engine.device), qvel.to(engine.device))
    return engine


def controls(engine, steps, seed=2):
    shape = (steps, *engine.data["ctrl"].shape)
    uniform = torch.rand(shape, generator=Generator().manual_seed(seed), dtype=torch.float64)
    return (2 * uniform - 1).to(engine.device, engine.dtype)


def run(engine, actions, mask=None, n_substeps=2):
    for action in actions:
        engine.data["ctrl"].copy_(action)
        engine.step(n_substeps, mask)


def differing(one, other, rows=slice(None)):
    """Names of the entries of `one` that differ in these rows."""
    return [n for n in one if not torch.equal(one[n][rows], other[n][rows])]
