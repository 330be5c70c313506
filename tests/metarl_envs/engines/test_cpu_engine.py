"""The CPU engine: bit-identical to plain MuJoCo, for any number of threads, faults contained."""

from __future__ import annotations

import mujoco
import mujoco.batch
import numpy as np
import pytest
import torch
from torch import Generator

from metarl_envs import BatchEnv, InputError
from metarl_envs.engines import CpuEngine
from metarl_envs.robots.half_cheetah import HALF_CHEETAH

VARIED = (
    "body_mass",
    "body_inertia",
    "geom_friction",
    "dof_damping",
    "actuator_gear",
    "opt.gravity",
)


def make_engine(robot, num_worlds, *, threads=1, seed=0) -> CpuEngine:
    engine = CpuEngine(
        robot.load_model(), num_worlds, varied=VARIED, outputs=("xpos",), threads=threads
    )
    generator = Generator().manual_seed(seed)
    fields = {}
    for name, base in engine.base_fields().items():
        shape = (num_worlds, base.shape[0], *([1] * (base.dim() - 1)))
        scale = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.5
        fields[name] = base * scale
    fields["body_inertia"] = engine.base_fields()["body_inertia"] * (
        fields["body_mass"] / engine.base_fields()["body_mass"].clamp(min=1e-9)
    ).unsqueeze(-1)
    engine.set_model_fields(fields)
    qpos, qvel = robot.initial_state()
    engine.reset(None, *robot.reset_state(qpos, qvel, num_worlds, generator))
    return engine


def controls(engine, steps, seed=1):
    generator = Generator().manual_seed(seed)
    shape = (steps, *engine.data["ctrl"].shape)
    return 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1


def run(engine, actions, n_substeps=5, mask=None) -> None:
    for action in actions:
        engine.data["ctrl"].copy_(action)
        engine.step(n_substeps, mask)


def test_bit_identical_to_a_plain_mj_step_loop_with_every_field_varied(robot):
    worlds, steps = 4, 100
    engine = make_engine(robot, worlds)
    start = {name: engine.data[name].clone() for name in ("qpos", "qvel")}
    fields = {name: engine.state()[name] for name in VARIED}
    actions = controls(engine, steps)
    run(engine, actions, robot.frame_skip)
    for world in range(worlds):
        model = robot.load_model()
        for name in VARIED[:-1]:
            getattr(model, name)[:] = fields[name][world].numpy()
        model.opt.gravity[:] = fields["opt.gravity"][world].numpy()
        mujoco.mj_setConst(model, mujoco.MjData(model))
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:] = start["qpos"][world].numpy(), start["qvel"][world].numpy()
        mujoco.mj_forward(model, data)
        for action in actions:
            data.ctrl[:] = action[world].numpy()
            mujoco.mj_step(model, data, robot.frame_skip)
        mujoco.mj_forward(model, data)
        assert torch.equal(engine.data["qpos"][world], torch.from_numpy(data.qpos))
        assert torch.equal(engine.data["qvel"][world], torch.from_numpy(data.qvel))
        assert torch.equal(engine.data["xpos"][world], torch.from_numpy(data.xpos))


def test_bit_identical_for_one_and_two_threads(robot):
    engines = [make_engine(robot, 16, threads=threads) for threads in (1, 2)]
    actions = controls(engines[0], 50)
    for engine in engines:
        run(engine, actions)
    one, two = (engine.state() for engine in engines)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_masked_step_and_reset_leave_other_worlds_bit_equal(robot):
    worlds = 6
    mask = torch.tensor([True, False, True, False, False, True])
    engine, reference = make_engine(robot, worlds), make_engine(robot, worlds)
    actions = controls(engine, 20)
    run(engine, actions)
    run(reference, actions)
    untouched = engine.state()
    qpos, qvel = robot.initial_state()
    fresh = robot.reset_state(qpos, qvel, worlds, Generator().manual_seed(9))
    engine.reset(mask, *fresh)
    after = engine.state()
    for name in ("rows", "xpos"):
        assert torch.equal(after[name][~mask], untouched[name][~mask])
        assert not torch.equal(after[name][mask], untouched[name][mask])
    assert torch.equal(engine.data["qpos"][mask], fresh[0][mask])
    engine.step(5, mask)
    assert torch.equal(engine.state()["rows"][~mask], untouched["rows"][~mask])
    # The worlds that were passed over go on as if nothing had happened around them.
    run(engine, actions)
    run(reference, actions)
    assert torch.equal(engine.state()["rows"][~mask], reference.state()["rows"][~mask])


def test_empty_mask_changes_nothing(robot):
    engine = make_engine(robot, 3)
    before = engine.state()
    nothing = torch.zeros(3, dtype=torch.bool)
    engine.step(5, nothing)
    engine.reset(nothing, engine.data["qpos"] + 1, engine.data["qvel"] + 1)
    assert all(torch.equal(before[name], value) for name, value in engine.state().items())


def test_save_perturb_restore_replays_bit_equal(robot):
    engine = make_engine(robot, 4)
    actions = controls(engine, 40)
    run(engine, actions[:20])
    saved = engine.state()
    run(engine, actions[20:])
    expected = engine.state()
    engine.set_model_fields({"body_mass": saved["body_mass"] * 2})
    engine.data["qpos"][:] = 0.1
    run(engine, actions[:3])
    for target in (engine, make_engine(robot, 4, threads=2, seed=5)):
        target.set_state(saved)
        restored = target.state()
        assert all(torch.equal(saved[name], restored[name]) for name in saved)
        run(target, actions[20:])
        replayed = target.state()
        assert all(torch.equal(expected[name], replayed[name]) for name in expected)


def test_saved_state_is_a_copy(robot):
    engine = make_engine(robot, 2)
    saved = engine.state()
    copies = {name: value.clone() for name, value in saved.items()}
    run(engine, controls(engine, 3))
    engine.set_model_fields({"body_mass": engine.state()["body_mass"] * 2})
    assert all(torch.equal(saved[name], copies[name]) for name in saved)


@pytest.mark.parametrize("field", ["qpos", "qvel", "ctrl"])
def test_nan_in_one_world_is_counted_there_and_others_stay_bit_equal(
    robot, field, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    robot.load_model()
    mujoco.set_mju_user_warning(None)  # as at the start of a process
    engine, reference = make_engine(robot, 4, threads=2), make_engine(robot, 4)
    actions = controls(engine, 20)
    run(engine, actions[:5])
    run(reference, actions[:5])
    for step, action in enumerate(actions[5:]):
        engine.data["ctrl"].copy_(action)
        if step == 0 or field == "ctrl":
            engine.data[field][2, 0] = torch.nan
        engine.step(5)
    run(reference, actions[5:])
    faults = engine.faults()
    assert faults[2] > 0
    assert faults[[0, 1, 3]].sum() == 0
    others = [0, 1, 3]
    assert torch.equal(engine.state()["rows"][others], reference.state()["rows"][others])
    assert engine.data["time"][2] == engine.data["time"][0], "an automatic reset hid it"
    if field != "ctrl":
        assert not torch.isfinite(engine.data["qpos"][2]).all()
    mask = torch.tensor([False, False, True, False])
    qpos, qvel = robot.initial_state()
    engine.reset(mask, qpos.expand(4, -1), qvel.expand(4, -1))
    assert engine.faults().sum() == 0
    run(engine, actions[:3])
    assert engine.faults().sum() == 0
    assert list(tmp_path.iterdir()) == [], "MUJOCO_LOG.TXT was written"
    assert capfd.readouterr() == ("", "")


def test_an_engine_error_is_a_fault_of_its_worlds_until_their_reset(robot, monkeypatch):
    engine = make_engine(robot, 3)

    def failing_step(ids, nstep, stage):
        raise mujoco.batch.SimulationError(np.array([1]), "out of memory", 3)

    with monkeypatch.context() as patch:
        patch.setattr(engine._batch, "step", failing_step)
        engine.step(5)
    assert engine.faults().tolist() == [0, 1, 0]
    assert engine.state()["errors"].tolist() == [0, 1, 0]
    engine.reset(torch.tensor([False, True, False]), engine.data["qpos"], engine.data["qvel"])
    assert engine.faults().tolist() == [0, 0, 0]


def test_no_log_file_after_a_batch_env_has_loaded_further_models(
    all_varied, generator, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    env = BatchEnv(all_varied, 1, 2)
    env.family.robot.load_model()
    env.reset(generator)
    env.engine.data["qvel"][1] = 1e30
    step = env.step(torch.zeros(2, len(env.action_low)))
    assert step.diverged.tolist() == [False, True]
    assert list(tmp_path.iterdir()) == []


def test_base_fields_are_the_templates_and_copies(robot):
    engine = make_engine(robot, 2)
    base = engine.base_fields()
    assert torch.equal(base["body_mass"], torch.from_numpy(robot.load_model().body_mass))
    base["body_mass"].zero_()
    assert engine.base_fields()["body_mass"].sum() > 0


def test_template_is_not_changed():
    model = HALF_CHEETAH.load_model()
    flags = int(model.opt.disableflags)
    CpuEngine(model, 1)
    assert int(model.opt.disableflags) == flags


def test_host_world_is_the_world(robot):
    engine = make_engine(robot, 3)
    run(engine, controls(engine, 5))
    model, data = engine.host_world(1)
    assert torch.equal(torch.from_numpy(data.qpos), engine.data["qpos"][1])
    assert torch.equal(torch.from_numpy(model.body_mass), engine.state()["body_mass"][1])
    data.qpos[:] = 7.0
    assert not (engine.data["qpos"] == 7.0).any()


@pytest.mark.parametrize(("sizes", "name"), [((0, 1), "num_worlds"), ((2, 0), "sim_threads")])
def test_impossible_sizes_are_refused(sizes, name):
    with pytest.raises(InputError, match=f"{name} = 0: must be at least 1"):
        CpuEngine(HALF_CHEETAH.load_model(), sizes[0], threads=sizes[1])
