"""Every field of MjData as an output of the engine warp: as on the engine cpu, or refused."""

from __future__ import annotations

import functools

import mujoco.batch
import pytest
import torch
from support import rich_world as rich
from support.warp_worlds import needs_warp

from metarl_envs import InputError
from metarl_envs.engines import CpuEngine
from metarl_envs.mjcf.outputs import REFUSED

pytestmark = [needs_warp, pytest.mark.slow]

ONLY_CPU = {"eq_active", "geom_xquat", "ncon", "plugin_state", "site_xquat", "xiquat"}
ALLOWED = sorted(mujoco.batch.DATA_FIELDS - REFUSED - ONLY_CPU)
FORCES = {"qacc", "qacc_warmstart", "qfrc_constraint", "sensordata"}
"""Outputs that depend on constraint forces: solved to a tolerance, and in single precision."""


@functools.cache
def pair():
    """Both engines after a control step from the keyframe, with all outputs, and after a reset."""
    from metarl_envs.engines.warp import WarpEngine

    engines = [
        kind(rich.model(), rich.WORLDS, outputs=ALLOWED, keyframe=rich.KEYFRAME)
        for kind in (CpuEngine, WarpEngine)
    ]
    found = []
    for engine in engines:
        engine.reset(None, *rich.start())
        start = {name: value.clone() for name, value in engine.data.items()}
        engine.data["ctrl"].copy_(rich.controls()[0])
        engine.step(1)
        found.append((start, {name: value.clone() for name, value in engine.data.items()}))
    return found


@pytest.mark.parametrize("name", ALLOWED)
def test_a_field_has_the_shape_and_the_values_of_the_engine_cpu(name):
    for cpu, warp in zip(*pair(), strict=True):
        assert warp[name].shape == cpu[name].shape
        size = float(cpu[name].abs().max()) if cpu[name].numel() else 0.0
        tolerance = 1e-2 if name in FORCES else 2e-4
        error = (warp[name].double() - cpu[name].double()).abs()
        assert not error.numel() or error.max() <= tolerance * max(size, 1.0), float(error.max())


@pytest.mark.parametrize("name", sorted(ONLY_CPU | REFUSED))
def test_what_is_not_there_is_refused_by_name(name):
    from metarl_envs.engines.warp import WarpEngine

    with pytest.raises(InputError, match=f"^output '{name}': ") as caught:
        WarpEngine(rich.model(), rich.WORLDS, outputs=[name])
    assert ("use the engine cpu" in str(caught.value)) == (name in ONLY_CPU)


def test_outputs_masks_and_restores_change_no_motion():
    """Not even with equality constraints, for which mujoco_warp carries velocities over."""
    from metarl_envs.engines.warp import WarpEngine

    def stepped(outputs):
        engine = WarpEngine(rich.model(), rich.WORLDS, outputs=outputs, keyframe=rich.KEYFRAME)
        engine.reset(None, *rich.start())
        for action in rich.controls()[:3]:
            engine.data["ctrl"].copy_(action)
            engine.step(1)
        return engine

    def moved(engine):
        return [engine.data[name].clone() for name in ("qpos", "qvel", "qacc_warmstart")]

    plain, engine = stepped(["qacc_warmstart"]), stepped(ALLOWED)
    assert all(map(torch.equal, moved(engine), moved(plain)))
    saved, mask = engine.state(), torch.tensor([True, False, True])
    engine.step(1)
    wanted = moved(engine)
    for disturb in (
        lambda: engine.step(2),
        lambda: engine.reset(None, *rich.start()),
    ):
        disturb()
        engine.set_state(saved)
        engine.step(1)
        assert all(map(torch.equal, moved(engine), wanted))
    engine.set_state(saved)
    engine.step(1, mask)
    engine.reset(mask, *rich.start())
    engine.step(1)
    assert all(torch.equal(a[1], b[1]) for a, b in zip(moved(engine), wanted, strict=True))
