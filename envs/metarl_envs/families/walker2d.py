"""Walker2d with randomised dynamics."""

from __future__ import annotations

from metarl_envs.families.rand_params import rand_params_family
from metarl_envs.robots.walker2d import WALKER2D, gymnasium_reward

_SEGMENTS = ("thigh", "leg", "foot", "thigh_left", "leg_left", "foot_left")

DYNAMICS = rand_params_family(
    WALKER2D,
    "Walker2d",
    gymnasium_reward,
    bodies=("torso", *_SEGMENTS),
    joints=tuple(f"{segment}_joint" for segment in _SEGMENTS),
    geoms=("floor", "torso_geom", *(f"{segment}_geom" for segment in _SEGMENTS)),
)
