"""The table of public robot models: its harness, with the arm of our own in place of a package."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from experiments import public_models
from experiments.public_models import MODELS, Options, commands, driven, family_file, outcome, table
from metarl.cli.parser import COMMANDS, parse
from metarl_envs import FAMILIES, Transition, load_family, mujoco_robot

ARM = Path(__file__).resolve().parents[2] / "experiments" / "own_robot" / "arm.xml"
OWN = public_models.Model("own==1.0", ARM.name, "frame_skip=10, reset=0.02", "hand", "elbow_*")


@pytest.mark.parametrize(
    ("code", "said", "cell"),
    [
        (0, "ok      spaces: 4 actions\nwrote a.png\na is ready: metarl train a", "ok"),
        (
            0,
            "note    actions: a\nok      rewards: b\nnote    actions: c\nnote    physics: d\nready",
            "ok, notes: actions, physics",
        ),
        (1, "note    actions: a\nFAILED  rewards: nan\n1 failed", "FAILED  rewards: nan"),
        (1, "FAILED  a: b\nFAILED  c: d\n2 failed", "FAILED  a: b; FAILED  c: d"),
        # An error's own line, not what follows it: this once stood as "ok" in the table.
        (
            2,
            "ok      spaces: 1\nmetarl: error: no x.xml",
            "metarl: error: no x.xml",
        ),
        (
            1,
            "metarl: error: an E: f\nmetarl: this is a bug",
            "metarl: error: an E: f",
        ),
        (1, "", "no word"),
    ],
)
def test_a_cell_says_what_a_command_came_to(code, said, cell):
    assert outcome(code, said) == cell


@pytest.mark.parametrize("name", MODELS)
def test_a_models_family_is_python_and_its_arguments_are_the_robots(name):
    model = MODELS[name]
    tree = ast.parse(family_file(name, model, Path(model.xml)))
    (made,) = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "mujoco_robot"
    ]
    known = inspect.signature(mujoco_robot).parameters
    assert {"frame_skip", "name"} <= {keyword.arg for keyword in made.keywords} <= set(known)
    assert model.package.count("==") == 1 and model.xml.endswith(".xml")


def test_the_family_varies_load_and_strength_and_pays_for_the_starting_pose(tmp_path):
    file = tmp_path / "family.py"
    file.write_text(family_file("arm-own", OWN, ARM))
    try:
        family = load_family(f"{file}:family")
    finally:
        FAMILIES.pop("arm-own", None)
    assert [parameter.name for parameter in family.parameters] == ["load", "strength"]
    assert family.dt_s == pytest.approx(0.05)
    start = family.robot.initial_state()
    moved = {"qpos": start[0][None] + 0.1, "qvel": start[1][None] + 2.0}
    reward = family.reward(Transition(before={}, after=moved, action=start[1], task={}, dt_s=0.05))
    assert float(reward) == pytest.approx(-0.01 - 0.004)


def test_actuators_are_counted_by_kind():
    assert driven(ARM) == ("2 motors", False)


def test_the_commands_are_those_of_metarl():
    typed = dict(commands("family.py:family", "arm", Path("out")))
    assert tuple(typed) == public_models.STEPS
    for name, command in typed.items():
        assert isinstance(parse(command), COMMANDS[name])


def test_a_model_that_fails_at_a_step_goes_no_further_and_others_stay(tmp_path, monkeypatch):
    def ran(command):
        said = {"check": "FAILED  speed: slow", "train": "metarl: error: 1 | 2"}
        return int(command[0] in said), said.get(command[0], ""), 1.25

    monkeypatch.setattr(public_models, "MODELS", {"one": OWN, "two": OWN})
    monkeypatch.setattr(public_models, "ran", ran)
    monkeypatch.setattr(public_models, "unpacked", lambda folder, package: ARM.parent)
    for name in ("two", "one"):
        public_models.main(Options((name,), tmp_path / "work", tmp_path))
    head, _, _, _, *rows = (tmp_path / "public_models.md").read_text().splitlines()
    assert head.startswith("0 of 2 models")
    cells = "| own==1.0 | 2 motors | FAILED  speed: slow | metarl: error: 1 \\| 2 | - | - |"
    assert rows == [f"| one {cells}", f"| two {cells}"]


def test_what_passes_all_steps_is_counted():
    good = dict.fromkeys(public_models.STEPS, "ok") | {"check": "ok, notes: actions"}
    row = {"model": "a", "package": "p==1", "actuators": "1 motor", "position_controlled": True}
    bad = row | good | {"record": "metarl: error: no"}
    assert table([row | good, bad, row | good]).startswith("2 of 3 models of public packages pass")
    assert "; 2 of these are position-controlled" in table([row | good, bad, row | good])
