"""The check of physics finds frictions and damping of pairs and tendons that cannot be."""

from __future__ import annotations

import pytest
from support.small_models import box, family_of, robot_of

from metarl_envs import vary
from metarl_envs.check.parameters import physics

MORE = """<contact><pair geom1="foot" geom2="floor"/></contact>
<tendon><fixed name="cord" damping="1" frictionloss="1" range="-1 1">
<joint joint="x" coef="1"/></fixed></tendon>"""


@pytest.mark.parametrize(
    ("make", "names", "flaw"),
    [
        (vary.pair_friction, "foot", "pair_friction is negative"),
        (vary.tendon_damping, "cord", "tendon_damping is negative"),
        (vary.tendon_friction_loss, "cord", "tendon_frictionloss is negative"),
    ],
)
def test_values_below_zero_are_found(tmp_path, make, names, flaw):
    robot = robot_of(tmp_path, box(more=MORE))
    fine = physics(family_of(robot, lambda r: make(r, names, (0.0, 2.0), how="set")))
    assert fine.verdict == "ok"
    broken = physics(family_of(robot, lambda r: make(r, names, (-1.0, 2.0), how="set")))
    assert broken.verdict == "FAILED" and flaw in broken.text
