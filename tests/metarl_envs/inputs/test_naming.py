"""Names that become folders, Gymnasium ids, columns and `--task name=value`."""

from __future__ import annotations

import gymnasium
import pytest

from metarl_envs import (
    FAMILIES,
    InputError,
    Parameter,
    TaskFamily,
    family_from_gym,
    get_family,
    vary,
)
from metarl_envs.distributions import interval
from metarl_envs.inputs.naming import check_family_name, check_parameter_name, family_name
from metarl_envs.interfaces.gym_env import MetaEnv


def named(name: str) -> TaskFamily:
    plain = get_family("navigation")
    return TaskFamily(
        name=name,
        robot=plain.robot,
        parameters=plain.parameters,
        reward=plain.reward,
        horizon=plain.horizon,
    )


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("a/b", "a-b"),
        ("../x", "x"),
        ("..", "my-robot"),
        (".hidden", "hidden"),
        ("con:1", "con-1"),
        ("a b", "a-b"),
        ("a\\b", "a-b"),
        ("a\nb", "a-b"),
        ("a\n", "a"),
        ("-x", "x"),
        ("x.", "x"),
        ("", "my-robot"),
        ("x" * 65, "x" * 64),
    ],
)
def test_names_that_are_no_safe_folder_are_refused_with_one_that_is(name, like):
    with pytest.raises(InputError, match=r"^name of a family = .*: must be 1 to 64 ") as error:
        named(name)
    assert f"such as '{like}'" in str(error.value)
    assert "\n" not in str(error.value)
    check_family_name(like)


@pytest.mark.parametrize("name", ["CON", "nul", "com1", "Aux.v2", "LPT9", "com\u00b9"])
def test_names_of_devices_are_refused_with_one_that_is_none(name):
    with pytest.raises(InputError, match=r"^name of a family = .*: Windows keeps it") as error:
        named(name)
    like = str(error.value).rpartition("such as '")[2][:-1]
    assert like == f"my-{family_name(name.lower())}".replace("my-my-", "my-")
    check_family_name(like)


def test_usual_names_are_allowed():
    for name in (*FAMILIES, "a", "console", "com", "nullspace", "Quadruped_v2.1", "höhe", "x" * 64):
        check_family_name(name)


def test_names_from_gymnasium_are_safe(monkeypatch):
    assert family_name("ALE/Pong-v5") == "ale-pong-v5"
    spec = gymnasium.envs.registration.EnvSpec("my_lab/Cart-v0", MetaEnv, max_episode_steps=9)
    spec.kwargs = {"family": "navigation"}
    monkeypatch.setitem(gymnasium.registry, "my_lab/Cart-v0", spec)
    vary_nothing = [vary.goal("goal", (0.0, 1.0), 0.5)]
    assert family_from_gym("my_lab/Cart-v0", vary_nothing).name == "my_lab-cart-v0"


@pytest.mark.parametrize(
    "name", ["", "a=b", "a,b", "a b", "a'b", 'a"b', "a\nb", "-a", "a/b", "a:b"]
)
def test_names_of_parameters_can_stand_on_a_command_line(name):
    with pytest.raises(InputError, match=r"^name of a parameter = .*: must be letters, ") as error:
        Parameter(name, "1", "", 0.5, interval(0.0, 1.0))
    like = str(error.value).rpartition("such as '")[2][:-1]
    assert vary.goal(like, (0.0, 1.0), 0.5).name == like


def test_names_that_the_package_makes_are_allowed():
    for family in FAMILIES.values():
        for parameter in family.parameters:
            check_parameter_name(parameter.name)
    check_parameter_name("höhe")
