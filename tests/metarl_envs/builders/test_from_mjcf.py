"""A robot from an MJCF file of one's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.own_robot import SOURCE

from metarl_envs import BatchEnv, Camera, InputError, TaskFamily, mujoco_robot, vary

ARM = SOURCE / "arm.xml"


def test_reads_sizes_times_and_bounds_from_the_model():
    robot = mujoco_robot(ARM, frame_skip=10)
    assert (robot.name, robot.observation_size) == ("arm", 4)
    assert robot.dt_s == pytest.approx(0.05)
    assert [bound.tolist() for bound in robot.action_bounds()] == [[-1.0, -1.0], [1.0, 1.0]]
    assert robot.camera == Camera()


def test_an_observation_of_ones_own_is_measured():
    robot = mujoco_robot(
        str(ARM),
        frame_skip=5,
        observation=lambda state: torch.cat([state["qpos"], state["site_xpos"][:, 0]], dim=1),
        outputs=["site_xpos"],
        name="five",
    )
    assert (robot.name, robot.observation_size) == ("five", 5)


def test_episodes_start_around_a_keyframe(tmp_path):
    text = ARM.read_text().replace(
        "</mujoco>", '<keyframe><key name="up" qpos="1 -0.5" qvel="0 2"/></keyframe></mujoco>'
    )
    (tmp_path / "arm.xml").write_text(text)
    robot = mujoco_robot(tmp_path / "arm.xml", frame_skip=10, keyframe="up", reset=0.0)
    family = TaskFamily(
        name="up",
        robot=robot,
        parameters=(vary.gravity(robot, (0.5, 1.5)),),
        reward=lambda transition: transition.after["qpos"][:, 0],
        horizon=10,
    )
    start = BatchEnv(family, 1, 1).reset(torch.Generator().manual_seed(0))
    assert start[0].tolist() == [1.0, -0.5, 0.0, 2.0]
    assert family.quantity == "control_effort"
    with pytest.raises(InputError, match="did you mean up"):
        mujoco_robot(tmp_path / "arm.xml", frame_skip=10, keyframe="ups")


def test_a_keyframe_without_a_name_has_a_number(tmp_path):
    keys = '<keyframe><key qpos="1 -0.5"/><key name="up" qpos="0.25 0"/></keyframe></mujoco>'
    (tmp_path / "arm.xml").write_text(ARM.read_text().replace("</mujoco>", keys))

    def start(keyframe):
        robot = mujoco_robot(tmp_path / "arm.xml", frame_skip=10, keyframe=keyframe)
        return robot.initial_state()[0].tolist()

    assert start(0) == start(np.int64(0)) == [1.0, -0.5]
    assert start(1) == start("up") == [0.25, 0.0]
    assert start(None) == start("") == [0.0, 0.0]
    with pytest.raises(InputError, match="keyframe = 2: arm has 2 keyframes, counted from 0"):
        start(2)


def test_one_output_needs_no_list():
    assert mujoco_robot(ARM, frame_skip=5, outputs="site_xpos").outputs == ("site_xpos",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frame_skip": 0}, "frame_skip = 0"),
        ({"outputs": ["site_xposs"]}, "unknown output 'site_xposs': did you mean site_xpos"),
        ({"remembered": ["site_xpos"]}, "add it to outputs"),
        ({"observation": lambda state: state["qpos"][:, 0]}, r"shape \(2,\) .* must be \(N, O\)"),
        ({"observation": lambda state: state["qpos"][0]}, r"must be \(N, O\)"),
        ({"observation": lambda state: state["xpos"]}, "reads 'xpos' .test_from_mjcf.py, line "),
        ({"observation": lambda state: state["qpos"] @ torch.ones(5)}, "failed: RuntimeError"),
        ({"observation": lambda state: None}, "must be a torch tensor"),
    ],
)
def test_wrong_arguments_say_what_is_allowed(arguments, message):
    with pytest.raises(InputError, match=message):
        mujoco_robot(ARM, **({"frame_skip": 10} | arguments))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<mujoco><worldbody>", "model .*broken.xml: XML"),
        ('<mujoco><worldbody><body><joint type="hing"/></body></worldbody></mujoco>', "hing"),
        ("<mujoco/>", "no actuators"),
        (
            ARM.read_text().replace(' ctrlrange="-1 1"', "", 1),
            "actuator 'shoulder_motor' has no control range",
        ),
    ],
)
def test_models_that_cannot_be_used_are_one_line(tmp_path, text, message):
    (tmp_path / "broken.xml").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        mujoco_robot(tmp_path / "broken.xml", frame_skip=10)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        mujoco_robot(tmp_path / "missing.xml", frame_skip=10)
