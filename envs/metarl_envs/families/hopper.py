"""Hopper with randomised dynamics."""

from __future__ import annotations

from metarl_envs.families.rand_params import rand_params_family
from metarl_envs.robots.hopper import HOPPER, gymnasium_reward

DYNAMICS = rand_params_family(
    HOPPER,
    "Hopper",
    gymnasium_reward,
    bodies=("torso", "thigh", "leg", "foot"),
    joints=("thigh_joint", "leg_joint", "foot_joint"),
    geoms=("floor", "torso_geom", "thigh_geom", "leg_geom", "foot_geom"),
)
