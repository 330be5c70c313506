"""Actuator parameters on the Warp engine: one step agrees with the CPU engine's."""

from __future__ import annotations

import pytest
import torch
from support.warp_worlds import DEVICES, needs_warp

from metarl_envs import mujoco_robot, vary
from metarl_envs.engines import CpuEngine
from metarl_envs.parameters import model_fields, varied_fields

pytestmark = [needs_warp, pytest.mark.slow]

ARM = """
<mujoco>
  <option timestep="0.002"/>
  <worldbody>
    <body pos="0 0 1">
      <joint name="shoulder" axis="0 1 0" damping="0.2"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.3" size="0.02" mass="1"/>
      <body name="forearm" pos="0 0 -0.3">
        <joint name="elbow" axis="0 1 0" damping="0.2" actuatorfrcrange="-3 3"/>
        <geom type="capsule" fromto="0 0 0 0 0 -0.3" size="0.02" mass="1"/>
        <site name="jet" pos="0 0 -0.3"/>
      </body>
    </body>
  </worldbody>
  <tendon>
    <fixed name="cord" actuatorfrcrange="-1 1"><joint joint="shoulder" coef="0.5"/></fixed>
  </tendon>
  <actuator>
    <position name="servo" joint="shoulder" kp="5" kv="1" forcerange="-2 2" ctrlrange="-1 1"/>
    <motor name="motor" joint="elbow" ctrlrange="-9 9"/>
    <motor name="line" tendon="cord" ctrlrange="-9 9"/>
    <motor name="jet" site="jet" gear="0 0 2 0 1 0" ctrlrange="-1 1"/>
    <muscle name="muscle" joint="shoulder" lengthrange="-1 1" scale="20" ctrlrange="0 1"/>
  </actuator>
</mujoco>"""
FACTORS = (0.5, 1.0, 1.5)


@pytest.mark.parametrize("device", DEVICES)
def test_a_step_with_factors_on_actuators_agrees_with_the_cpu_engine(tmp_path, device):
    from metarl_envs.engines.warp import WarpEngine

    (tmp_path / "arm.xml").write_text(ARM)
    robot = mujoco_robot(tmp_path / "arm.xml", frame_skip=1)
    parameters = (
        vary.mass(robot, "forearm", (0.1, 3)),
        vary.strength(robot, "servo", (0.1, 3)),
        vary.strength(robot, "muscle", (0.1, 3)),
        vary.gear(robot, ["jet", "muscle"], (0.1, 3)),
        vary.force_limit(robot, ["motor", "line"], (0.1, 3)),
    )
    fields = varied_fields(parameters)
    assert {"jnt_actfrcrange", "tendon_actfrcrange", "actuator_lengthrange"} < set(fields)
    size = len(FACTORS)
    cpu = CpuEngine(robot.load_model(), size, varied=fields, outputs=("qfrc_actuator",))
    warp = WarpEngine(
        robot.load_model(),
        size,
        varied=fields,
        outputs=("qfrc_actuator",),
        device=torch.device(device),
    )
    values = {p.name: torch.tensor(FACTORS, dtype=torch.float64) for p in parameters}
    changed = model_fields(parameters, cpu.base_fields(), values)
    for engine in (cpu, warp):
        engine.set_model_fields({n: f.to(engine.device) for n, f in changed.items()})
        row = torch.tensor([0.3, -0.5], dtype=torch.float64, device=engine.device)
        engine.reset(None, row.expand(size, 2), 2 * row.expand(size, 2))
        control = torch.tensor([-0.9, 8.0, 8.0, 0.7, 1.0], dtype=torch.float64)
        engine.data["ctrl"].copy_(control.expand(size, 5))
        engine.step(5)
    plain = cpu.data["qfrc_actuator"]
    assert (plain - plain[1]).abs()[[0, 2]].min() > 0.1  # every world is another
    for name in ("qfrc_actuator", "qpos", "qvel"):
        found = warp.data[name].cpu().double()
        torch.testing.assert_close(found, cpu.data[name], rtol=1e-5, atol=1e-5)
