"""A robot of one's own through every command: train, evaluate, adapt, resume, check."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from support.own_robot import write_robot

import metarl
from metarl.cli import main
from metarl.methods.config import from_json, to_json
from metarl.methods.families import recipe
from metarl.methods.setup import family_of
from metarl.runs.checkpoint import load_checkpoint, load_policy
from metarl_envs import FAMILIES, InputError, MetaEnv, Origin, load_family

TRAIN = [
    *("train", "arm.py:family", "--meta-batch-size", "2", "--episodes-per-task", "2"),
    *("--horizon", "6", "--sim-threads", "1", "--checkpoint-every", "1", "--quiet"),
]
FAMILY = ["--family", "arm.py:family"]
FEW = ["--episodes", "2", "--sim-threads", "1"]
NOISE = (
    "        vary.action_delay(2),",
    "        vary.action_delay(2), vary.observation_noise(ARM, (0.0, 0.1)),",
)
RAN = "import pathlib\npathlib.Path('ran').touch()\n"


def forget() -> None:
    """As in a new process, where the file has not been loaded yet."""
    for name in ("arm-lift", "other", "pendulum-v1"):
        FAMILIES.pop(name, None)


@pytest.fixture(autouse=True)
def in_a_users_folder(tmp_path, monkeypatch):
    write_robot(tmp_path, NOISE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("METARL_DEBUG", raising=False)
    forget()
    yield
    forget()


def train(iterations: int, run: str = "runs/arm") -> None:
    assert main([*TRAIN, "--iterations", str(iterations), "--run", run]) == 0
    forget()


def test_train_evaluate_adapt_and_check(capsys, tmp_path):
    train(1)
    config = load_policy(tmp_path / "runs/arm").config
    assert config.family == "arm-lift"
    assert config.origin.reference == "arm.py:family"
    assert main(["evaluate", "runs/arm", *FAMILY, "--tasks", "2", *FEW]) == 0
    forget()
    assert main(["adapt", "runs/arm", *FAMILY, "--task", "hand_mass=2", *FEW]) == 0
    assert "hand height, m" in capsys.readouterr().out
    forget()
    # The saved policy acts and adapts without the file, but the file's simulation is needed to
    # choose max_step_kl.
    shutil.move("arm.py", "elsewhere.py")
    adapted = metarl.load("runs/arm/adapted/hand_mass=2")
    assert adapted.predict(np.zeros(4))[0].shape == (2,)
    env = gymnasium.wrappers.TimeLimit(MetaEnv(load_family("elsewhere.py:family")), 6)
    forget()
    with pytest.raises(InputError, match=r"max_step_kl is not given.*load_family.*or give nats"):
        adapted.adapt(env, episodes=2)
    again = adapted.adapt(env, episodes=2, limits=metarl.Limits(max_step_kl=10.0))
    again.save("again")
    assert "| hand_mass | 1 | [0.5, 3] (train)" in (tmp_path / "again/README.md").read_text()
    described = json.loads((tmp_path / "again/config.json").read_text())["family"]
    assert described["robot"] == "arm"


def test_reading_a_run_never_runs_the_file_it_names(capsys, tmp_path):
    (tmp_path / "arm.py").write_text((tmp_path / "arm.py").read_text() + RAN)
    train(1)
    (tmp_path / "ran").unlink()
    metarl.load("runs/arm").predict(np.zeros(4))
    for command in (
        ["evaluate", "runs/arm"],
        ["adapt", "runs/arm", "--task", "hand_mass=2"],
        ["record", "runs/arm"],
        ["resume", "runs/arm", "--iterations", "2"],
    ):
        capsys.readouterr()
        assert main(command) == 2
        error = capsys.readouterr().err
        assert "only if you name it: add --family arm.py:family" in error
        assert error.count("\n") == 1
    assert not (tmp_path / "ran").exists()


def test_resumed_with_the_file_is_as_if_never_stopped(tmp_path):
    train(3, "runs/whole")
    train(1, "runs/parts")
    assert main(["resume", "runs/parts", *FAMILY, "--iterations", "3", "--quiet"]) == 0
    (_, whole), (_, parts) = (load_checkpoint(tmp_path / "runs" / n) for n in ("whole", "parts"))
    assert whole.iteration == parts.iteration == 3
    for name, value in whole.params.items():
        assert torch.equal(parts.params[name], value), name
    for name, value in whole.generators.state().items():
        assert torch.equal(parts.generators.state()[name], value), name


def test_a_file_that_has_changed_is_a_warning_and_other_spaces_an_error(tmp_path, capsys):
    train(1)
    file = tmp_path / "arm.py"
    file.write_text(file.read_text().replace("0.01 *", "0.02 *"))
    load_family("arm.py:family")
    with pytest.warns(UserWarning, match="arm.py:family or its model has changed since"):
        load_policy(tmp_path / "runs/arm")
    forget()
    sees_the_hand = (
        "    frame_skip=10,\n    observation=lambda state: state['site_xpos'][:, 0].clone(),"
    )
    file.write_text(file.read_text().replace("    frame_skip=10,", sees_the_hand))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(["evaluate", "runs/arm", *FAMILY]) == 1
    told = capsys.readouterr().err
    assert "spaces of arm-lift have changed" in told
    assert "4 observations and 2 actions, now 3 and 2" in told


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("gone.py:family", "gone.py: No such file"),
        ("arm.py:family_", "did you mean family"),
        ("navigation", "defines 'navigation', but this run was trained on 'arm-lift'"),
        ("other.py:family", "defines 'other', but this run was trained on 'arm-lift' of arm.py:"),
    ],
)
def test_another_family_than_the_runs_is_refused(tmp_path, capsys, option, message):
    train(1)
    text = (tmp_path / "arm.py").read_text()
    (tmp_path / "other.py").write_text(text.replace('name="arm-lift"', 'name="other"'))
    assert main(["evaluate", "runs/arm", "--family", option]) == 2
    assert message in capsys.readouterr().err


def test_commands_that_take_a_family_take_a_file(capsys):
    assert main(["families", "arm.py:family"]) == 0
    assert "train:  metarl train arm.py:family" in capsys.readouterr().out
    assert main(["train", "arm.py:family", "--method", "promp", "--help"]) == 0
    assert "--outer.clip" in capsys.readouterr().out
    small = ["--worlds", "4", "--meta-batch-size", "2", "--horizon", "3", "--rounds", "1"]
    assert main(["benchmark", "arm.py:family", *small, "--sim-threads", "1"]) == 0


def test_runs_are_compared_and_reported_with_their_file_named_once(capsys, tmp_path):
    train(1, "runs/a")
    train(1, "runs/b")
    runs = ["runs/a", "runs/b"]
    assert main(["evaluate", *runs, *FAMILY, "--tasks", "2", *FEW, "--out", "both"]) == 0
    assert (tmp_path / "both/comparison.json").is_file()
    forget()
    capsys.readouterr()
    assert main(["report", *runs, "--out", "page"]) == 2
    assert "only if you name it: add --family" in capsys.readouterr().err
    small = ["--tasks", "3", *FEW, "--videos", "0"]
    assert main(["report", *runs, *FAMILY, *small, "--out", "page"]) == 0
    assert "arm-lift" in (tmp_path / "page/report.html").read_text()


PPO = [
    *("--env-steps", "30", "--worlds", "3", "--horizon", "6", "--sim-threads", "1"),
    *("--outer.minibatches", "2"),
]


def test_baselines_and_a_diagnosis_of_a_family_in_a_file(capsys, tmp_path):
    pytest.importorskip("stable_baselines3")
    for name in ("robust", "oracle"):
        assert main(["baseline", name, "arm.py:family", *PPO, "--run", f"runs/{name}"]) == 0
        shown = capsys.readouterr().out
        assert f"metarl evaluate runs/{name} --family arm.py:family" in shown
        forget()
    assert load_policy(tmp_path / "runs/oracle").config.origin.reference == "arm.py:family"
    assert main(["resume", "runs/robust"]) == 2
    assert "add --family arm.py:family" in capsys.readouterr().err
    again = ["resume", "runs/robust", "--family", "arm.py:family"]
    assert main(again) == 0
    command = capsys.readouterr().out.splitlines()[-1]
    assert command.endswith(" --family arm.py:family") and "resume runs/robust" in command
    forget()
    assert main([*shlex.split(command)[1:], "--quiet"]) == 0
    forget()
    assert main(["evaluate", "runs/oracle", *FAMILY, "--tasks", "2", *FEW]) == 0
    forget()
    given = ["--robust", "runs/robust", "--oracle", "runs/oracle", "--out", "diagnosis"]
    small = ["--tasks", "3", "--episodes", "2", "--sim-threads", "1"]
    assert main(["diagnose", "arm.py:family", *given, *small]) == 0
    said = json.loads((tmp_path / "diagnosis/diagnosis.json").read_text())
    assert said["family"] == "arm-lift"


def test_scratch_meets_a_task_of_a_family_in_a_file(capsys):
    pytest.importorskip("stable_baselines3")
    task = ["--task", "hand_mass=2", "--run", "runs/scratch"]
    assert main(["baseline", "scratch", "arm.py:family", *PPO, *task]) == 0
    assert "metarl adapt runs/scratch --family arm.py:family --task" in capsys.readouterr().out


@pytest.mark.render
def test_check_prints_a_line_per_check_and_draws_the_extremes(capsys, tmp_path):
    assert main(["check", "arm.py:family", "--out", "sheet.png"]) in (0, 1)  # speed may fail
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("FAILED") and "speed" not in line] == []
    assert sum(line.startswith("ok") for line in lines) >= 10
    assert "wrote sheet.png" in lines
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_check_fails_where_a_parameter_does_nothing(capsys, tmp_path):
    file = tmp_path / "arm.py"
    file.write_text(file.read_text().replace('task["height"]', 'task["height"] * 0'))
    assert main(["check", "arm.py:family"]) == 1
    shown = capsys.readouterr().out
    assert "FAILED  height in [0.2, 0.9]: " in shown
    assert shown.rstrip().endswith("failed")


def test_check_counts_notes_but_does_not_fail_for_them(capsys, tmp_path):
    model = tmp_path / "arm.xml"
    text = model.read_text()
    assert 'ctrlrange="-1 1"' in text
    model.write_text(text.replace('ctrlrange="-1 1"', 'ctrlrange="-1000 1000"'))
    code = main(["check", "arm.py:family"])
    shown = capsys.readouterr().out
    assert re.search("note    actions: shoulder_motor, elbow_motor: .*1000", shown)
    assert "FAILED" not in shown.replace("FAILED  speed", "")  # the machine may be slow
    assert code == int("FAILED" in shown)
    if code == 0:
        assert "arm-lift is ready (1 note to look at): metarl train arm.py:family" in shown


def test_configurations_without_an_origin_are_of_shipped_families():
    config = recipe("navigation")
    assert config.origin == Origin()
    data = to_json(config)
    del data["origin"]
    assert from_json(data) == config
    elsewhere = dataclasses.replace(config, family="arm-lift", origin=Origin("arm.py:family", "0"))
    with pytest.raises(InputError, match=r"add --family arm\.py:family"):
        family_of(elsewhere)


PENDULUM = """from metarl_envs import family_from_gym, gym_robot, vary
ROBOT = gym_robot("Pendulum-v1")
family = family_from_gym(ROBOT, [vary.attribute(ROBOT, "m", (0.5, 2.0))])
"""


def test_a_gymnasium_environment_trains_like_any_family(tmp_path):
    (tmp_path / "arm.py").write_text(PENDULUM)
    train(1)
    assert main(["evaluate", "runs/arm", *FAMILY, "--tasks", "2", *FEW]) == 0
