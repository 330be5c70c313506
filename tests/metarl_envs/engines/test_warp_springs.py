"""Springs, tendons and contact pairs that vary, on the Warp engine: as on the CPU engine."""

from __future__ import annotations

import pytest
import torch
from support.warp_worlds import DEVICES, needs_warp

from metarl_envs import mujoco_robot, vary
from metarl_envs.engines import CpuEngine
from metarl_envs.parameters import model_fields, varied_fields

pytestmark = [needs_warp, pytest.mark.slow]

MODEL = """
<mujoco>
  <option timestep="0.002"/>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 0.1"/>
    <site name="hook" pos="1 0 1"/>
    <body pos="0 0 0.0995">
      <joint name="x" type="slide" axis="1 0 0"/><joint name="z" type="slide" axis="0 0 1"/>
      <geom name="foot" type="box" size="0.1 0.1 0.1" mass="1"/>
    </body>
    <body pos="1 0 0.7">
      <joint name="down" type="slide" axis="0 0 -1" stiffness="20" springref="0.2"/>
      <geom size="0.05" mass="0.5"/><site name="ring"/>
    </body>
    <body pos="2 0 1">
      <joint name="swing" axis="0 1 0"/>
      <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02" mass="0.5"/>
    </body>
  </worldbody>
  <contact><pair geom1="foot" geom2="floor" friction="0.3 0.3 0.01 0.01 0.01"/></contact>
  <tendon>
    <spatial name="rope" stiffness="50" springlength="0.2" damping="2" range="0 0.35">
      <site site="hook"/><site site="ring"/>
    </spatial>
    <fixed name="cord" frictionloss="0.2"><joint joint="swing" coef="1"/></fixed>
  </tendon>
  <actuator><motor joint="x" ctrlrange="-9 9"/></actuator>
</mujoco>"""
FACTORS = (0.5, 1.0, 1.5)


@pytest.mark.parametrize("device", DEVICES)
def test_steps_with_other_springs_tendons_and_pairs_agree_with_the_cpu_engine(tmp_path, device):
    from metarl_envs.engines.warp import WarpEngine

    (tmp_path / "model.xml").write_text(MODEL)
    robot = mujoco_robot(tmp_path / "model.xml", frame_skip=1)
    parameters = (
        vary.joint_stiffness(robot, "down", (0.1, 3)),
        vary.tendon_stiffness(robot, "rope", (0.1, 3)),
        vary.tendon_damping(robot, "rope", (0.1, 3)),
        vary.tendon_range(robot, "rope", (0.1, 3)),
        vary.tendon_friction_loss(robot, "cord", (0.1, 3)),
        vary.pair_friction(robot, "foot", (0.1, 3)),
        vary.joint_stiffness(robot, "swing", (0.1, 3), how="set"),  # 0 in the model
    )
    fields, size = varied_fields(parameters), len(FACTORS)
    cpu = CpuEngine(robot.load_model(), size, varied=fields)
    warp = WarpEngine(robot.load_model(), size, varied=fields, device=torch.device(device))
    values = {p.name: torch.tensor(FACTORS, dtype=torch.float64) for p in parameters}
    changed = model_fields(parameters, cpu.base_fields(), values)
    for engine in (cpu, warp):
        engine.set_model_fields({n: f.to(engine.device) for n, f in changed.items()})
        row = torch.tensor([0.0, 0.0, 0.1, 0.4], dtype=torch.float64, device=engine.device)
        speed = torch.tensor([1.0, 0.0, 0.5, -0.5], dtype=torch.float64, device=engine.device)
        engine.reset(None, row.expand(size, 4), speed.expand(size, 4))
        engine.data["ctrl"].fill_(1.0)
        engine.step(5)
    plain = cpu.data["qvel"][:, [0, 2, 3]]
    assert (plain - plain[1]).abs()[[0, 2]].min() > 1e-3  # every world moves in its own way
    for name in ("qpos", "qvel"):
        found = warp.data[name].cpu().double()
        torch.testing.assert_close(found, cpu.data[name], rtol=1e-4, atol=2e-5)
