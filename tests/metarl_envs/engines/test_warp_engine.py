"""The Warp engine against the CPU engine over one step, and its worlds against each other.

Never whole episodes: contact is chaotic, and after 100 steps single precision is somewhere else.
On a GPU sums are formed in any order, so what is bit-equal on a CPU is only close there.
"""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
import torch
from support.warp_worlds import (
    DEVICES,
    VARIED,
    WORLDS,
    controls,
    cpu_engine,
    differing,
    make_warp_engine,
    needs_warp,
    random_fields,
    run,
    start,
    warp_engine,
)

from metarl_envs import InputError
from metarl_envs.robots.ant import ANT
from metarl_envs.robots.half_cheetah import HALF_CHEETAH

pytestmark = [needs_warp, pytest.mark.slow]

BOUNDS = {
    "half-cheetah": (6e-7, 6e-5, 1.6e-4),
    "ant": (3e-7, 1.1e-5, 3e-5),
    "hopper": (2.2e-7, 2e-6, 4e-6),
    "walker2d": (4.2e-7, 6e-5, 2.8e-4),
}
"""99th percentile of |change in qpos|, of |change in qvel|, and its maximum, after one substep."""


@pytest.mark.parametrize("device", DEVICES)
def test_one_step_agrees_with_the_cpu_engine_with_every_field_varied(robot, device):
    cpu, warp = start(cpu_engine(robot), robot), start(warp_engine(robot, device), robot)
    off = {name: [] for name in ("qpos", "qvel", "xpos")}
    for action in controls(cpu, 15):
        # Ever new states, touching the ground, from which both take a step without warm starts.
        run(cpu, action[None], n_substeps=4 * robot.frame_skip)
        qpos, qvel = (cpu.data[name].clone().float() for name in ("qpos", "qvel"))
        cpu.reset(None, qpos.double(), qvel.double())
        warp.reset(None, qpos.to(warp.device), qvel.to(warp.device))
        run(cpu, action.float()[None], n_substeps=1)
        run(warp, action.float()[None].to(warp.device), n_substeps=1)
        for name, values in off.items():
            values.append((warp.data[name].cpu().double() - cpu.data[name]).abs().flatten())
    worst = {name: torch.cat(values) for name, values in off.items()}
    qpos_99, qvel_99, qvel_max = BOUNDS[robot.name]
    found = (worst["qpos"].quantile(0.99), worst["qvel"].quantile(0.99), worst["qvel"].max())
    print(robot.name, "qpos 99 %, qvel 99 %, qvel max:", *(f"{value:.1e}" for value in found))
    assert cpu.faults().sum() == warp.faults().sum() == 0
    assert worst["qpos"].quantile(0.99) < qpos_99
    assert worst["qvel"].quantile(0.99) < qvel_99
    assert worst["qvel"].max() < qvel_max
    assert worst["xpos"].max() < 2e-6


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_gpu_is_found_with_and_without_its_number(monkeypatch, name):
    """torch.device("cuda"), which --device cuda gives, has no index. The stand-in for Warp's GPU
    can do nothing: the test ends where the engine first puts something there."""
    import warp as wp

    from metarl_envs.engines.warp import WarpEngine

    gpu, asked = SimpleNamespace(), []

    def scoped(device):
        asked.append(device)
        raise InterruptedError

    wp.init()
    runtime = wp._src.context.runtime
    monkeypatch.setattr(runtime, "cuda_devices", [gpu])
    monkeypatch.setitem(runtime.device_map, "cuda:0", gpu)
    monkeypatch.setattr(runtime, "get_current_cuda_device", lambda: gpu)
    monkeypatch.setattr(wp, "ScopedDevice", scoped)
    with pytest.raises(InterruptedError):
        WarpEngine(HALF_CHEETAH.load_model(), 2, device=torch.device(name))
    assert asked == [gpu]


@pytest.mark.parametrize("device", DEVICES)
def test_a_dropped_engine_is_freed_at_once_with_its_graphs(device):
    engine = start(make_warp_engine(HALF_CHEETAH, device), HALF_CHEETAH)
    run(engine, controls(engine, 1))
    gone = weakref.ref(engine), *(weakref.ref(graph) for graph in engine._graphs.values())
    assert len(gone) == 5
    gc.disable()
    try:
        del engine
        assert not any(reference() for reference in gone)
    finally:
        gc.enable()


@pytest.mark.parametrize("device", DEVICES)
def test_derived_constants_are_those_of_mj_set_const_in_every_world(device):
    engine = start(warp_engine(ANT, device), ANT, seed=3)
    fields, state = random_fields(engine, 3), engine.state()
    for world in (0, 7, WORLDS - 1):
        model = ANT.load_model()
        for name in VARIED[:-1]:
            getattr(model, name)[:] = fields[name][world].numpy()
        mujoco.mj_setConst(model, mujoco.MjData(model))
        for name in ("body_subtreemass", "body_invweight0", "dof_invweight0", "actuator_acc0"):
            found = state[name][world].cpu().numpy()
            np.testing.assert_allclose(
                found, getattr(model, name).reshape(found.shape), rtol=2e-5, err_msg=name
            )


@pytest.mark.parametrize("field", VARIED)
def test_a_field_of_one_world_changes_the_motion_of_that_world_only(field):
    engine = warp_engine(HALF_CHEETAH, "cpu")
    same = {n: f.expand(WORLDS, *f.shape).clone() for n, f in engine.base_fields().items()}
    actions = controls(engine, 12)
    ends = []
    for change in (False, True):
        fields = {name: value.clone() for name, value in same.items()}
        if change:
            fields[field][3] *= 1.5
        start(engine, HALF_CHEETAH, fields=fields)
        run(engine, actions, n_substeps=8)
        ends.append({name: engine.data[name].clone() for name in ("qpos", "qvel")})
    others = torch.arange(WORLDS) != 3
    assert not differing(*ends, others)
    assert (ends[0]["qpos"][3] - ends[1]["qpos"][3]).abs().max() > 1e-4


@pytest.mark.parametrize("device", DEVICES)
def test_masked_step_and_reset_leave_other_worlds_as_they_were(device):
    robot, engine = HALF_CHEETAH, start(warp_engine(HALF_CHEETAH, device), HALF_CHEETAH)
    actions = controls(engine, 6)
    mask = (torch.arange(WORLDS) % 3 == 0).to(engine.device)
    run(engine, actions)
    untouched = engine.state()
    run(engine, actions)
    expected = engine.state()
    engine.set_state(untouched)

    qpos, qvel = (engine.data[name] + 0.25 for name in ("qpos", "qvel"))
    engine.reset(mask, qpos, qvel)
    after = engine.state()
    assert not differing(after, untouched, ~mask)
    assert torch.equal(after["qpos"][mask], qpos[mask])
    assert torch.equal(after["qvel"][mask], qvel[mask])
    assert after["time"][mask].tolist() == after["ctrl"][mask].unique().tolist() * int(mask.sum())
    assert not torch.equal(after["xpos"][mask], untouched["xpos"][mask])

    run(engine, actions[:2], mask)
    after = engine.state()
    assert not differing({n: v for n, v in after.items() if n != "ctrl"}, untouched, ~mask), (
        "a step moved a world outside its mask"
    )
    assert (after["time"][mask] > 0).all()
    # The worlds that were passed over go on as if nothing had happened around them.
    run(engine, actions)
    close = 0.0 if device == "cpu" else 1e-3
    assert (engine.state()["qpos"] - expected["qpos"])[~mask].abs().max() <= close
    assert (robot.frame_skip, engine.faults().sum()) == (5, 0)


def test_empty_mask_changes_nothing():
    engine = start(warp_engine(ANT, "cpu"), ANT)
    run(engine, controls(engine, 2))
    before = engine.state()
    nothing = torch.zeros(WORLDS, dtype=torch.bool)
    engine.step(5, nothing)
    engine.reset(nothing, engine.data["qpos"] + 1, engine.data["qvel"] + 1)
    assert not differing(before, engine.state())


@pytest.mark.parametrize("device", DEVICES)
def test_save_perturb_restore_replays_identically(device):
    engine = start(warp_engine(ANT, device), ANT)
    actions = controls(engine, 12)
    run(engine, actions[:6], n_substeps=4)
    saved = engine.state()
    copies = {name: value.clone() for name, value in saved.items()}
    run(engine, actions[6:], n_substeps=4)
    expected = engine.state()
    engine.set_model_fields({"body_mass": saved["body_mass"] * 2})
    engine.data["qpos"][:] = 0.1
    run(engine, actions[:2])
    assert not differing(saved, copies), "a saved state is not a copy"
    assert differing(saved, engine.state())
    engine.set_state(saved)
    assert not differing(saved, engine.state())
    run(engine, actions[6:], n_substeps=4)
    replayed = engine.state()
    if device == "cpu":
        assert not differing(expected, replayed)
    assert (expected["qpos"] - replayed["qpos"]).abs().max() < 1e-3


def test_changed_fields_move_no_world():
    engine = start(warp_engine(ANT, "cpu"), ANT)
    run(engine, controls(engine, 3))
    before = {name: value.clone() for name, value in engine.data.items()}
    engine.set_model_fields(random_fields(engine, seed=9))
    assert not differing(before, dict(engine.data))


@pytest.mark.parametrize("field", ["qpos", "qvel", "ctrl"])
def test_nan_in_one_world_is_a_fault_there_and_others_stay_bit_equal(field):
    engine = start(warp_engine(HALF_CHEETAH, "cpu"), HALF_CHEETAH)
    actions = controls(engine, 4)
    before = engine.state()
    run(engine, actions)
    reference = engine.state()
    engine.set_state(before)
    for action in actions:
        engine.data["ctrl"].copy_(action)
        engine.data[field][2, 0] = torch.nan
        engine.step(2)
    others = torch.arange(WORLDS) != 2
    faults = engine.faults()
    assert faults[2] > 0
    assert faults[others].sum() == 0
    assert not differing(engine.state(), reference, others)
    engine.reset(~others, before["qpos"], before["qvel"])
    run(engine, actions)
    assert engine.faults().sum() == 0


def test_a_velocity_beyond_reason_is_a_fault():
    engine = start(warp_engine(HALF_CHEETAH, "cpu"), HALF_CHEETAH)
    engine.data["qvel"][5, 0] = 1e11
    assert engine.faults().tolist() == [int(world == 5) for world in range(WORLDS)]


def test_dropped_contacts_and_constraints_are_faults_that_name_the_limit():
    from metarl_envs.engines.warp import WarpEngine

    sound = start(warp_engine(HALF_CHEETAH, "cpu"), HALF_CHEETAH)
    assert sound.overflow_message() == ""
    engine = WarpEngine(
        HALF_CHEETAH.load_model(), WORLDS, varied=VARIED, max_contacts=1, max_constraints=2
    )
    start(engine, HALF_CHEETAH)
    engine.data["qpos"][1:, 1] = -0.5  # all but world 0 are pressed into the ground
    run(engine, controls(engine, 1))
    faults = engine.faults()
    assert faults[1:].sum() > 0
    assert torch.isfinite(engine.data["qpos"]).all()
    message = engine.overflow_message()
    assert "max_contacts = 1 was too low" in message
    assert "max_constraints = 2 was too low" in message
    assert "raise max_constraints of the robot" in message
    start(engine, HALF_CHEETAH)
    qpos = engine.data["qpos"].clone()
    qpos[:, 1] = 2.0  # in the air
    engine.reset(None, qpos, engine.data["qvel"])
    assert (engine.faults().sum(), engine.overflow_message()) == (0, "")


def test_host_world_is_the_world():
    engine = start(warp_engine(ANT, "cpu"), ANT)
    run(engine, controls(engine, 3))
    model, data = engine.host_world(4)
    assert torch.equal(torch.from_numpy(data.qpos).float(), engine.data["qpos"][4])
    assert torch.equal(torch.from_numpy(model.body_mass).float(), engine.state()["body_mass"][4])
    assert model.opt.gravity[2] == pytest.approx(float(engine.state()["opt.gravity"][4, 2]))
    np.testing.assert_allclose(
        model.body_subtreemass, engine.state()["body_subtreemass"][4], rtol=1e-5
    )
    data.qpos[:] = 7.0
    assert not (engine.data["qpos"] == 7.0).any()


def test_template_is_not_changed_and_base_fields_are_copies():
    engine = start(warp_engine(ANT, "cpu"), ANT)
    base = engine.base_fields()
    assert torch.equal(base["body_mass"], torch.from_numpy(ANT.load_model().body_mass))
    assert base["opt.gravity"].tolist() == pytest.approx([0, 0, -9.81])
    base["body_mass"].zero_()
    assert engine.base_fields()["body_mass"].sum() > 0


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"num_worlds": 0}, "^num_worlds = 0: must be at least 1"),
        ({"max_contacts": 0}, "^max_contacts = 0: must be at least 1"),
        ({"varied": ("geom_type",)}, "'geom_type': cannot differ .* engine warp.*body_mass"),
        ({"varied": ("opt.timestep",)}, "'opt.timestep': cannot differ"),
        ({"varied": ("cam_pos",)}, "'cam_pos': cannot differ"),
    ],
)
def test_what_cannot_be_is_refused(changes, complaint):
    from metarl_envs.engines.warp import WarpEngine

    arguments = {"num_worlds": 2} | changes
    with pytest.raises(InputError, match=complaint):
        WarpEngine(HALF_CHEETAH.load_model(), arguments.pop("num_worlds"), **arguments)


def test_a_solver_that_warp_lacks_is_refused():
    from metarl_envs.engines.warp import WarpEngine

    model = HALF_CHEETAH.load_model()
    model.opt.solver = mujoco.mjtSolver.mjSOL_PGS
    with pytest.raises(InputError, match=r"solver = PGS: .* use the engine cpu"):
        WarpEngine(model, 2)
