"""Entries of observations and actions are named by what they copy from the model."""

from dataclasses import replace

import mujoco
import torch

from metarl_envs import get_family
from metarl_envs.interfaces.entry_names import (
    action_names,
    joint_coordinates,
    observation_names,
    unique,
)


def test_copied_entries_are_named_by_joint_and_computed_ones_by_number():
    family = get_family("hopper-dynamics")

    def observation(state):
        parts = state["qvel"][:, 2:3], state["qpos"][:, 1:2].sin(), state["qpos"][:, 3:5]
        return torch.cat(parts, dim=1)

    robot = replace(family.robot, observation=observation, observation_size=4)
    family = replace(family, robot=robot)
    assert observation_names(family) == [
        "qvel.rooty", "observation[1]", "qpos.thigh_joint", "qpos.leg_joint",
    ]  # fmt: skip
    assert action_names(family) == ["thigh_joint", "leg_joint", "foot_joint"]


def test_a_task_that_is_observed_comes_last():
    family = replace(get_family("half-cheetah-velocity"), observes_task=True)
    names = observation_names(family)
    assert len(names) == family.observation_size == 18
    assert names[-2:] == ["qvel.ffoot", "task[0]"]


def test_a_robot_without_a_model_has_numbers():
    family = get_family("navigation")
    assert observation_names(family) == ["observation[0]", "observation[1]"]
    assert action_names(family) == ["action[0]", "action[1]"]


def test_joints_of_several_coordinates_and_without_a_name():
    model = mujoco.MjModel.from_xml_string(
        """<mujoco><worldbody><body name="b"><freejoint name="root"/><geom size="1"/>
        <body name="arm"><joint axis="1 0 0"/><joint axis="0 1 0"/><geom size="1"/></body>
        <body><joint type="ball"/><geom size="1"/></body>
        </body></worldbody></mujoco>"""
    )
    positions, velocities = joint_coordinates(model)
    root = [f"qpos.root[{i}]" for i in range(7)]
    assert positions == [
        *root,
        "qpos.arm#0",
        "qpos.arm#1",
        *(f"qpos.joint3[{i}]" for i in range(4)),
    ]
    assert velocities[6:] == ["qvel.arm#0", "qvel.arm#1", *(f"qvel.joint3[{i}]" for i in range(3))]
    assert (len(positions), len(velocities)) == (model.nq, model.nv)


def test_names_that_repeat_are_numbered():
    assert unique(["a", "b", "a"]) == ["a#0", "b", "a#1"]
