"""Arm families: reach for a hidden target, and reach with encoders that are off."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from metarl_envs import vary
from metarl_envs.family import TaskFamily
from metarl_envs.robots.arm import ARM, HOME_TIP, angles, tip_from_home
from metarl_envs.robots.base import Transition
from metarl_envs.scene.markers import Marker


def tip_to_target(transition: Transition) -> Tensor:
    """Distance of the tip to the target, m: (N,)."""
    return (tip_from_home(transition.after) - transition.task["target"]).norm(dim=1)


def reward(transition: Transition) -> Tensor:
    """Minus the distance of the tip to the target in decimetres: (N,).

    So that rewards are of order 1: policies with a memory read them as they are.
    """
    return -10 * tip_to_target(transition)


REACHING_ARM = dataclasses.replace(
    ARM, quantities={**ARM.quantities, "tip_to_target_m": tip_to_target}
)
BLIND_ARM = dataclasses.replace(
    REACHING_ARM, name="arm-without-tip", observation=angles, observation_size=6
)
MARKER = (Marker("target", origin_m=HOME_TIP),)
NOWHERE = (0.0, 0.0, 0.0)

REACH = TaskFamily(
    name="arm-reach",
    robot=REACHING_ARM,
    parameters=(
        vary.goal(
            "target",
            (-0.12, 0.12),
            NOWHERE,
            unit="m",
            description="where the tip should be, from where it is at home",
            extrapolation=[(-0.15, -0.12), (0.12, 0.15)],
        ),
    ),
    reward=reward,
    horizon=100,
    quantity="tip_to_target_m",
    markers=MARKER,
    source=(
        "Ours, after reach-v3 of Meta-World (Yu et al. 2019, arXiv:1910.10897), with an arm whose "
        "joints are commanded: reward = -|tip - target| / 0.1 m after each step of 0.04 s, 100 "
        "steps. The target is hidden, x, y, z each ~ U(-0.12, 0.12) m from the tip at home; "
        "extrapolation: each of them between 0.12 and 0.15 m away. All of it is within reach: at "
        "worst, in one corner of the extrapolation, the arm stays 1.4 cm away. What is observed "
        "says nothing of the target, so that who does not adapt stays at home, 0.113 m away on "
        "average of 60 training tasks (return -113); who knows the target returns -6, random "
        "targets of the joints -137."
    ),
)

ENCODER = TaskFamily(
    name="arm-encoder",
    robot=BLIND_ARM,
    parameters=(
        vary.encoder_offset(
            BLIND_ARM,
            "*",
            (-0.15, 0.15),
            extrapolation=[(-0.2, -0.15), (0.15, 0.2)],
            name="encoder_offset",
        ),
        vary.goal(
            "target",
            (-0.12, 0.12),
            NOWHERE,
            unit="m",
            description="where the tip should be, from where it is at home",
            observed=True,
        ),
    ),
    reward=reward,
    horizon=100,
    quantity="tip_to_target_m",
    markers=MARKER,
    source=(
        "Ours: the six encoders of the arm are off, each by U(-0.15, 0.15) rad (extrapolation: "
        "0.15 to 0.2 either way), in what is observed and in the servos alike; the target, "
        "U(-0.12, 0.12)^3 m from the tip at home, is observed, the tip is not; "
        "reward = -|tip - target| / 0.1 m after each step of 0.04 s, 100 steps. Randomised "
        "calibration of legged robots is smaller (mjlab +-0.015, Walk-These-Ways +-0.02, MuJoCo "
        "Playground +-0.05 rad); 0.157 rad is what one tooth of a belt with 40 makes. By symmetry "
        "no fixed correction helps, and at rest the joints are where they seem to be sent: only "
        "the reward tells. Speeds are not observed, as right after a jump of the targets they "
        "depend on the arm's true pose. With scripted targets on 60 training tasks, who trusts the "
        "encoders ends 6.7 cm away on average (return -69), who knows the offsets 0 (-8), and "
        "random targets 15 cm (-154)."
    ),
)
