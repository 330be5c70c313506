"""Every field of MjData as an output: what a plain MuJoCo loop shows, or refused."""

from __future__ import annotations

import re

import mujoco
import mujoco.batch
import pytest
import torch
from support import rich_world as rich

from metarl_envs import InputError
from metarl_envs.engines import CpuEngine
from metarl_envs.mjcf.outputs import REFUSED
from metarl_envs.robots.ant import ANT

ALLOWED = sorted(mujoco.batch.DATA_FIELDS - REFUSED)


def make_engine(*outputs, threads=1, **kwargs):
    engine = CpuEngine(
        rich.model(),
        rich.WORLDS,
        outputs=outputs,
        keyframe=rich.KEYFRAME,
        threads=threads,
        **kwargs,
    )
    engine.reset(None, *rich.start())
    return engine


def states(engine):
    """Its data after the reset and each control step."""
    found = [{name: value.clone() for name, value in engine.data.items()}]
    for action in rich.controls():
        engine.data["ctrl"].copy_(action)
        engine.step(rich.SUBSTEPS)
        found.append({name: value.clone() for name, value in engine.data.items()})
    return found


def test_the_model_has_contacts_constraints_and_forces():
    assert (rich.expected("ncon", rich.STEPS) > 0).all()
    for name in ("act", "qfrc_constraint", "ten_length", "sensordata", "energy", "mocap_pos"):
        assert rich.expected(name, rich.STEPS).abs().max() > 0, name


@pytest.mark.parametrize("name", sorted(mujoco.batch.DATA_FIELDS))
def test_a_field_is_that_of_a_plain_loop_with_mj_forward_or_refused(name):
    if name in REFUSED:
        with pytest.raises(InputError, match=rf"^output '{name}': .*; (give|read) .*") as caught:
            make_engine(name)
        assert "\n" not in str(caught.value)
        instead = re.findall(r"\w+", str(caught.value).split(";", 1)[1])
        assert set(instead) & set(ALLOWED), "it names no field that can be read"
        return
    for threads in (1, 2):
        for step, data in enumerate(states(make_engine(name, threads=threads))):
            wanted = rich.expected(name, step)
            assert data[name].shape == wanted.shape
            assert torch.equal(data[name].double(), wanted.double()), f"after step {step}"
            assert torch.equal(data["ctrl"], rich.expected("ctrl", step))


def test_an_unknown_field_is_answered_with_those_that_can_be_read():
    with pytest.raises(InputError, match="unknown output 'site_xposs': did you mean site_xpos"):
        make_engine("site_xposs")
    with pytest.raises(InputError, match="unknown output 'cfrc_extern'") as caught:
        make_engine("cfrc_extern")
    assert "cfrc_ext " not in f"{caught.value} ".replace("?", " ")


def test_energy_is_refused_where_the_model_does_not_compute_it():
    with pytest.raises(InputError, match=r"output 'energy': .* <flag energy=.enable./>"):
        CpuEngine(ANT.load_model(), 1, outputs=["energy"])


def test_trajectories_are_those_of_mj_step_alone_bit_for_bit():
    without, found = states(make_engine()), states(make_engine(*ALLOWED))
    for step in range(rich.STEPS + 1):
        for name in ("qpos", "qvel"):
            assert torch.equal(found[step][name], without[step][name])
        for name in ("qpos", "qvel", "act", "qacc_warmstart", "time"):
            wanted = rich.expected(name, step, forward=False)
            assert torch.equal(found[step][name], wanted), f"{name} after step {step}"


def test_lagged_outputs_are_those_that_mj_step_leaves():
    found = states(make_engine("xpos", "actuator_force", lagged_outputs=True))
    for step in range(rich.STEPS + 1):
        for name in ("xpos", "actuator_force"):
            assert torch.equal(found[step][name], rich.expected(name, step, forward=False))
    assert not torch.equal(found[1]["xpos"], rich.expected("xpos", 1))


def test_mj_forward_follows_only_as_far_as_outputs_need_it():
    for outputs, lagged, stage in (
        ((), False, mujoco.mjtStage.mjSTAGE_NONE),
        (("act", "mocap_pos"), False, mujoco.mjtStage.mjSTAGE_NONE),
        (("act", "xpos", "site_xmat"), False, mujoco.mjtStage.mjSTAGE_POS),
        (("xpos", "cvel"), False, mujoco.mjtStage.mjSTAGE_ACC),
        (("xpos",), True, mujoco.mjtStage.mjSTAGE_NONE),
    ):
        engine = make_engine(*outputs, lagged_outputs=lagged)
        assert engine._after_step == int(stage)


def test_outputs_of_other_worlds_stay_when_some_are_stepped_or_reset():
    engine = make_engine("sensordata", "xpos")
    states(engine)
    before = {name: value.clone() for name, value in engine.data.items()}
    mask = torch.tensor([True, False, True])
    engine.step(rich.SUBSTEPS, mask)
    assert all(torch.equal(engine.data[name][1], before[name][1]) for name in before)
    engine.reset(mask, *rich.start())
    for name in ("sensordata", "xpos"):
        assert torch.equal(engine.data[name][1], before[name][1])
        assert torch.equal(engine.data[name][mask], rich.expected(name, 0)[mask])


def test_outputs_are_right_after_a_restore():
    engine, other = make_engine("sensordata", "actuator_force"), make_engine("sensordata", "xpos")
    states(engine)
    saved = engine.state()
    engine.data["ctrl"].zero_()
    engine.step(7)
    engine.set_state(saved)
    for name in ("qpos", "sensordata", "actuator_force"):
        assert torch.equal(engine.data[name], rich.expected(name, rich.STEPS))
    assert not torch.equal(other.data["sensordata"], engine.data["sensordata"])


def test_the_ant_reads_what_gymnasium_reads():
    assert ANT.lagged_outputs
