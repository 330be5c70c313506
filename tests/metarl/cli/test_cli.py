"""Commands, flags and help. The list of flags is frozen."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import metarl
from metarl.adaptation.none import Unadapted
from metarl.api.training import train_config
from metarl.cli import main
from metarl.cli.parser import COMMANDS, parse
from metarl.cli.train import Train
from metarl.methods.baselines import BASELINES
from metarl.methods.config import settings, with_settings
from metarl.methods.families import recipe, train_command
from metarl.methods.meta import METHODS
from metarl.methods.settings import described, flag, shown
from metarl_envs import FAMILIES, get_family

ROOT = Path(__file__).resolve().parents[3]
FLAGS = {
    "families": "",
    "methods": "",
    "train": (
        "--method --start --teacher --horizon --iterations --meta-batch-size --episodes-per-task "
        "--seed --device --engine --sim-threads --adaptation-steps --policy.hidden-sizes "
        "--inner.inner-lr --outer.max-kl --seeds --wandb --run --quiet --help-all"
    ),
    "baseline": (
        "--env-steps --worlds --start --task --horizon --seed --sim-threads --policy.hidden-sizes "
        "--outer.learning-rate --outer.clip --outer.max-kl --seeds --wandb --run "
        "--quiet --help-all"
    ),
    "diagnose": (
        "--env-steps --seeds --robust --oracle --run --tasks --episodes --sim-threads --out --quiet"
    ),
    "evaluate": (
        "--splits --tasks --episodes --measured --steps --budgets --on-top --noise --seed --out "
        "--quiet --family --device --engine --sim-threads"
    ),
    "adapt": (
        "--task --episodes --steps --seed --family --on-top --out --device --engine --sim-threads"
    ),
    "export": "--out",
    "record": (
        "--task --episodes --steps --seed --family --split --tasks --switch --show --out "
        "--camera --hd --device --engine --sim-threads"
    ),
    "report": (
        "--tasks --episodes --steps --budgets --videos --seed --sim-threads --out --quiet --family"
    ),
    "resume": "--env-steps --quiet --family --iterations --device --engine --sim-threads",
    "demo": "--out",
    "doctor": "",
    "benchmark": (
        "--method --worlds --meta-batch-size --horizon --rounds --json --device --engine "
        "--sim-threads"
    ),
    "check": "--out",
}
"""A flag is a promise: whoever changes this list breaks somebody's script."""


@pytest.mark.parametrize(
    "command", ["", *COMMANDS, *(f"train navigation --method {m}" for m in METHODS)]
)
def test_help_fits_one_screen(capsys, command):
    assert main([*command.split(), "--help"]) == 0
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert sum(max(1, math.ceil(len(line) / 100)) for line in lines) <= 52


@pytest.mark.parametrize("command", COMMANDS)
def test_the_flags_are_frozen(capsys, command):
    main([command, "--help"])
    shown = capsys.readouterr().out
    found = re.findall(r"^[│ ]? *(--[a-z][a-z.-]*)", shown, re.MULTILINE)
    assert found == FLAGS[command].split()


def test_the_commands_are_frozen():
    assert list(COMMANDS) == list(FLAGS)


def test_help_and_version_need_neither_torch_nor_mujoco():
    code = (
        "import sys; from metarl.cli import main; main(['--version']); main(['--help']);"
        "main(['evaluate', '--help']);"
        "sys.exit(bool({'torch', 'mujoco', 'gymnasium', 'tensorboard'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "envs")])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"metarl {metarl.__version__}\n")


def test_families_are_a_table_with_units_and_ranges(capsys):
    assert main(["families"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["family", "parameter", "unit", "train", "extrapolation"]
    (velocity,) = [line for line in lines if line.startswith("half-cheetah-velocity")]
    assert re.split(r"  +", velocity)[1:] == ["velocity", "m/s", "[0, 2]", "[2, 3]"]
    first = {line.split()[0] for line in lines if line}
    assert set(FAMILIES) <= first


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_described_with_its_source_and_recipe(capsys, name):
    assert main(["families", name]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{name}: ")
    (command,) = re.findall(r"recipe: metarl (.*)", shown)
    assert main(command.split()) == 0
    assert get_family(name).source[:20] in shown.replace("\n", " ")


def test_methods_are_a_table_with_their_papers(capsys):
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.split(r"  +", lines[0]) == ["method", "adapts", "outer update", "paper"]
    rows = {cells[0]: cells[1:] for cells in (re.split(r"  +", line) for line in lines[1:])}
    assert rows["reptile"][0] == "all weights, by two large policy-gradient steps"
    assert rows["promp"][2] == "Rothfuss et al. 2019, arXiv:1810.06784"
    assert set(METHODS) <= rows.keys()
    assert set(BASELINES) <= rows.keys()
    assert "metarl methods METHOD" in lines[-1]


@pytest.mark.parametrize("name", {**METHODS, **BASELINES})
def test_a_method_is_described_with_the_commands_that_train_it_and_show_its_settings(capsys, name):
    method = {**METHODS, **BASELINES}[name]
    assert main(["methods", name]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{name}: {method.title} ({method.paper})\n")
    assert method.adapts in shown and method.learns in shown
    train, settings_of = re.findall(r"metarl (.*)", shown)
    assert settings_of == f"{train} --help-all"
    assert parse(train.replace("FAMILY", "navigation").split()) is not None
    assert main(settings_of.replace("FAMILY", "navigation").split()) == 0


WITHIN_EPISODES = [n for n in METHODS if isinstance(recipe("navigation", n).inner, Unadapted)]


def flags_in(shown):
    """Each flag of a help page, with all that is said of it in one line."""
    text = re.sub(r"[\s│╭╮╰╯─]+", " ", shown)
    parts = re.split(r" (--[a-z][a-z.-]*) ", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("name", METHODS)
def test_help_all_shows_every_setting_with_its_text_and_the_recipes_value(capsys, name):
    assert main(["train", "navigation", "--method", name, "--help-all"]) == 0
    found, config = flags_in(capsys.readouterr().out), recipe("navigation", name)
    for name, setting in described(config).items():
        said = found[flag(name)].replace(" ", "")
        assert len(setting.text) > 10 and setting.text.replace(" ", "") in said
        assert f"(default:{shown(setting.value)})".replace(" ", "") in said


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_of_a_recipe_can_be_typed_as_it_is_shown(name):
    config = recipe("navigation", name)
    values = {key: setting.value for key, setting in described(config).items()}
    typed = [word for key, value in values.items() for word in (flag(key), *shown(value).split())]
    command = parse(["train", "navigation", "--method", name, *typed])
    assert command.settings == values
    unread = settings(config).keys() - values.keys()  # without an inner loop
    assert unread == ({"adaptation_steps", "inner_loss"} if name in WITHIN_EPISODES else set())
    assert train_config("navigation", name, command.settings) == config


@pytest.mark.parametrize(
    ("method", "chosen", "flags"),
    [
        ("promp", {}, ""),
        ("promp", {"outer.clip": 0.1, "sim_threads": 1}, "--outer.clip 0.1"),
        ("promp", {"policy.init_std": 2.0}, "--policy.init-std 2.0"),
        (
            "maml-trpo",  # a rate that a new deviation would have scaled
            {"policy.init_std": 2.0, "inner.inner_lr": 0.1},
            "--policy.init-std 2.0 --inner.inner-lr 0.1 --inner.inner-lr-decay 0.3 "
            "--inner.first-order False",
        ),
        (
            "teacher-student",
            {"policy.hidden_sizes": (8, 8), "outer.estimates_task": True},
            "--policy.hidden-sizes 8 8 --outer.estimates-task True",
        ),
    ],
)
def test_the_command_of_a_configuration_holds_what_differs_from_the_recipe(method, chosen, flags):
    config = with_settings(recipe("navigation", method), chosen)
    words = train_command(config).split()
    assert " ".join(words) == f"metarl train navigation --method {method} {flags}".strip()
    command = parse(words[1:])
    assert isinstance(command, Train)
    again = train_config("navigation", method, command.settings)
    assert dataclasses.replace(again, sim_threads=config.sim_threads) == config


def test_help_shows_the_recipe_of_the_family_that_stands_before_it(capsys):
    for family in ("navigation", "half-cheetah-direction"):
        assert main(["train", family, "--help"]) == 0
        shown_help = capsys.readouterr().out
        assert f"the recipe of maml-trpo on {family}" in shown_help
        hidden = flags_in(shown_help)["--policy.hidden-sizes"]
        assert f"(default: {shown(recipe(family).policy.hidden_sizes)})" in hidden


@pytest.mark.parametrize(
    ("platform", "given", "missing", "expected"),
    [
        ("linux", {}, [], "egl"),
        ("linux", {"MUJOCO_GL": "osmesa"}, [], "osmesa"),
        ("linux", {"DISPLAY": ":0"}, ["libEGL"], None),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, [], None),
        ("darwin", {}, ["libEGL"], None),
        # Importing MuJoCo fails with a backend that is not there.
        ("linux", {}, ["libEGL"], "disable"),
        ("linux", {"MUJOCO_GL": "egl", "DISPLAY": ":0"}, ["libEGL"], "disable"),
        ("linux", {"MUJOCO_GL": "osmesa"}, ["libOSMesa"], "disable"),
        ("linux", {"MUJOCO_GL": "glfw"}, ["libEGL"], "glfw"),
    ],
)
def test_gl_backend_is_one_that_mujoco_can_be_imported_with(
    monkeypatch, platform, given, missing, expected
):
    def load(name):
        if any(str(name).startswith(library) for library in missing):
            raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("ctypes.CDLL", load)
    for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert main(["--help"]) == 0
    assert os.environ.get("MUJOCO_GL") == expected
