"""A keyframe is restored whole, on either engine, as mj_resetDataKeyframe has it."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from support import rich_world as rich
from support.warp_worlds import needs_warp

from metarl_envs.engines import CpuEngine


def make_engine(kind, keyframe):
    arguments = {"outputs": ("act", "mocap_pos", "mocap_quat", "xpos"), "keyframe": keyframe}
    if kind == "cpu":
        return CpuEngine(rich.model(), rich.WORLDS, **arguments)
    from metarl_envs.engines.warp import WarpEngine

    return WarpEngine(rich.model(), rich.WORLDS, **arguments)


def mujocos_own(keyframe):
    data = mujoco.MjData(rich.model())
    if keyframe is not None:
        mujoco.mj_resetDataKeyframe(rich.model(), data, 0)
    mujoco.mj_forward(rich.model(), data)
    return data


def check_held(found, world, keyframe):
    """`found` holds in a world what MuJoCo's own reset gives."""
    wanted = mujocos_own(keyframe)
    for name in rich.HELD:
        np.testing.assert_array_equal(
            found[name][world].numpy(),
            np.asarray(getattr(wanted, name), dtype=found[name].numpy().dtype),
            err_msg=name,
        )


@pytest.mark.parametrize("keyframe", [0, None])
@pytest.mark.parametrize(
    "kind", ["cpu", pytest.param("warp", marks=[needs_warp, pytest.mark.slow])]
)
def test_a_reset_restores_controls_activations_mocap_poses_and_time(kind, keyframe):
    engine = make_engine(kind, keyframe)
    qpos = torch.from_numpy(mujocos_own(keyframe).qpos).expand(rich.WORLDS, -1)
    qvel = torch.zeros(rich.WORLDS, rich.model().nv, dtype=torch.float64)
    engine.reset(None, qpos, qvel)
    for world in range(rich.WORLDS):
        check_held(engine.data, world, keyframe)
    torch.testing.assert_close(
        engine.data["xpos"][1].double(), torch.from_numpy(mujocos_own(keyframe).xpos)
    )
    _, host = engine.host_world(1)
    assert host.ctrl.tolist() == pytest.approx(mujocos_own(keyframe).ctrl.tolist())
    assert host.act.tolist() == pytest.approx(mujocos_own(keyframe).act.tolist())
    np.testing.assert_allclose(host.mocap_pos, mujocos_own(keyframe).mocap_pos, atol=1e-7)
    np.testing.assert_allclose(host.mocap_quat, mujocos_own(keyframe).mocap_quat, atol=1e-7)

    engine.data["ctrl"].copy_(torch.full((rich.WORLDS, rich.model().nu), 0.3))
    engine.step(rich.SUBSTEPS)
    before = {name: value.clone() for name, value in engine.data.items()}
    engine.reset(torch.tensor([False, True, False]), qpos, qvel)
    check_held(engine.data, 1, keyframe)
    for name, value in before.items():
        assert torch.equal(engine.data[name][[0, 2]], value[[0, 2]]), name
    assert not torch.equal(engine.data["act"][1], before["act"][1])


DELAYED = """<mujoco><worldbody><body><joint name="j" axis="0 1 0" damping="1"/>
<geom type="capsule" fromto="0 0 0 .3 0 0" size=".02"/></body></worldbody>
<actuator><position joint="j" kp="50" kv="5" delay="0.02" nsample="20"/>
<motor joint="j" gear="0.1"/></actuator>
<keyframe><key qpos="0.5" ctrl="0.5 0"/></keyframe></mujoco>"""


@pytest.mark.parametrize(
    "kind", ["cpu", pytest.param("warp", marks=[needs_warp, pytest.mark.slow])]
)
def test_a_servo_of_mujocos_own_delay_holds_from_the_first_step(kind):
    model = mujoco.MjModel.from_xml_string(DELAYED)
    if kind == "cpu":
        engine = CpuEngine(model, 2, keyframe=0)
    else:
        from metarl_envs.engines.warp import WarpEngine

        engine = WarpEngine(model, 2, keyframe=0)
    start = torch.full((2, 1), 0.5, dtype=torch.float64)
    for mask in (None, torch.tensor([False, True])):
        engine.reset(mask, start, torch.zeros_like(start))
        engine.step(5)  # half of the delay
        held = engine.data["qpos"][:, 0].double()
        assert (held[-1] - 0.5).abs() < 0.01  # let go, it would turn by 0.2 rad
        engine.data["ctrl"].zero_()
        engine.step(40)  # the new control has arrived
        assert engine.data["qpos"][0, 0] < 0.45
