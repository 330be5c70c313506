"""Errors of one's own robot in one line: by every command, and in Python."""

from __future__ import annotations

import dataclasses

import pytest
from support.own_robot import write_robot

from metarl.cli import main
from metarl_envs import (
    FAMILIES,
    InputError,
    TaskFamily,
    load_family,
    mujoco_robot,
    register_family,
    vary,
)

SMALL = ["--meta-batch-size", "2", "--episodes-per-task", "2", "--horizon", "6", "--quiet"]
COMMANDS = {
    "train": ["train", "arm.py:family", *SMALL, "--iterations", "1", "--sim-threads", "1"],
    "check": ["check", "arm.py:family"],
    "baseline": ["baseline", "random", "arm.py:family"],
    "families": ["families", "arm.py:family"],
}
REWARD = "-error.abs() -"
SHAPE = "reward of arm-lift has shape (2, 2) for N = 2 worlds: must be (N,), one number per world"


@pytest.fixture(autouse=True)
def in_a_users_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("METARL_DEBUG", raising=False)
    yield
    FAMILIES.pop("arm-lift", None)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("change", "model", "messages"),
    [
        (None, None, ["arm.py: No such file or directory"]),
        (('"arm.xml"', '"leg.xml"'), None, ["leg.xml: no such file", "error: arm.py, line "]),
        (None, ("<worldbody>", "<worldbdy>"), ["arm.xml: XML parse error", "Line number=4"]),
        (None, ('type="hinge"', 'type="hing"'), ["arm.xml: XML Error: invalid keyword: 'hing'"]),
        (('"hand", (0.5', '"hnad", (0.5'), None, ["unknown body 'hnad': did you mean hand?"]),
        ((REWARD, "-error.abs()[:, None] -"), None, [SHAPE]),
        (
            (REWARD, "-(error - 9).sqrt() -"),
            None,
            ["reward of arm-lift = nan after the first step: must be finite", "divisions by 0"],
        ),
    ],
    ids=["missing file", "missing model", "broken XML", "keyword", "body", "shape", "NaN"],
)
def test_every_command_says_it_in_one_line(tmp_path, capsys, command, change, model, messages):
    if change or model:
        write_robot(tmp_path, *([change] if change else []), model=model or ("", ""))
    assert main(COMMANDS[command]) == 2
    error = capsys.readouterr()
    assert error.err.count("\n") == 1
    for message in messages:
        assert message in error.err
    assert "Traceback" not in error.out + error.err
    assert not (tmp_path / "runs").exists()


def test_a_reward_that_is_nan_in_some_states_only_stops_training_in_one_line(tmp_path, capsys):
    # Finite at the start, where the hand hangs at 0.1 m, and without a value when it rises.
    write_robot(tmp_path, (REWARD, "-(0.101 - hand_height(transition)).sqrt() -"))
    assert main([*COMMANDS["train"], "--policy.init-std", "10"]) == 1
    error = capsys.readouterr().err
    assert "reward or observation that is not finite (max_fault_share = 20%)" in error
    assert error.count("\n") == 1
    assert main(COMMANDS["check"]) == 1
    shown = capsys.readouterr().out
    assert "FAILED  episodes:" in shown and "a reward that is not finite" in shown


def test_in_python_a_family_is_tried_before_it_is_known(tmp_path):
    family = load_family(f"{write_robot(tmp_path)}:family")
    FAMILIES.pop("arm-lift")
    for reward, message in (
        (lambda transition: family.reward(transition)[:, None], r"has shape \(2, 1\)"),
        (lambda transition: family.reward(transition) / 0, "= -inf after the first step"),
        (lambda transition: transition.task["heights"], "reads 'heights'"),
    ):
        with pytest.raises(InputError, match=message) as refused:
            register_family(dataclasses.replace(family, reward=reward))
        assert "\n" not in str(refused.value)
        assert "arm-lift" not in FAMILIES
    register_family(family)
    assert FAMILIES["arm-lift"] is family


def test_a_model_that_was_edited_is_read_anew(tmp_path):
    file = write_robot(tmp_path)
    assert load_family(f"{file}:family").dt_s == pytest.approx(0.05)
    model = tmp_path / "arm.xml"
    model.write_text(model.read_text().replace('timestep="0.005"', 'timestep="0.002"'))
    assert load_family(f"{file}:family").dt_s == pytest.approx(0.02)


STIFF = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody><body><joint name="finger" type="slide" range="0 0.05"/>
    <geom size="0.01" mass="0.001"/></body></worldbody>
  <actuator><position joint="finger" kp="1e9" ctrlrange="0 0.2"/></actuator>
</mujoco>
"""


def test_a_model_that_diverges_at_once_is_not_blamed_on_the_reward(tmp_path):
    (tmp_path / "stiff.xml").write_text(STIFF)
    robot = mujoco_robot(tmp_path / "stiff.xml", frame_skip=100)
    family = TaskFamily(
        name="stiff",
        robot=robot,
        parameters=(vary.mass(robot, "*", (0.5, 2.0), name="load"),),
        reward=lambda transition: -transition.after["qpos"][:, 0],
        horizon=5,
    )
    with pytest.raises(InputError, match="stiff diverges in its first step: qpos") as refused:
        register_family(family)
    assert "a smaller reset=" in str(refused.value)
    assert "roots and logarithms" not in str(refused.value)
