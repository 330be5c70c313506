"""Tasks on the command line."""

from __future__ import annotations

import pytest

from metarl.cli.tasks import example_task, folder_name, parse_switches, parse_task
from metarl_envs import FAMILIES, InputError, get_family


def test_a_task_can_be_typed_together_or_apart():
    dynamics = get_family("half-cheetah-dynamics")
    together = parse_task(dynamics, ["mass_scale=1.5", "damping_scale=0.7"])
    assert together.describe(0)["mass_scale"] == 1.5
    assert together.describe(0)["damping_scale"] == 0.7
    assert together.describe(0)["friction_scale"] == 1.0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("goal", "expected name=value, such as goal="),
        ("goal=", "expected name=value"),
        ("goal=left", "expected name=value"),
        ("goal=0.1,", "expected name=value"),
        ("gaol=0.1,0.1", "did you mean goal"),
        ("goal=0.1,0.2,0.3", "takes 2 numbers"),
        ("goal=nan,0", "allowed in navigation"),
        ("goal=9,9", "allowed in navigation"),
        ("go\nal\u2028=1", "--task go al =1: expected|unknown task parameter"),
        (":=nan,\n", "expected name=value"),
    ],
)
def test_a_task_that_cannot_be_is_refused(text, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        parse_task(get_family("navigation"), [text])
    assert "\n" not in str(caught.value)


def test_a_parameter_given_twice_is_refused():
    with pytest.raises(InputError, match="given twice"):
        parse_task(get_family("navigation"), ["goal=0,0", "goal=0.1,0.1"])


@pytest.mark.parametrize("name", FAMILIES)
def test_the_example_of_every_family_is_one_of_its_tasks(name):
    text = example_task(get_family(name))
    parse_task(get_family(name), [text])
    assert " " not in text


def test_a_task_makes_a_folder_name():
    assert folder_name(["goal=0.3,-0.2", "a=1"]) == "goal=0.3,-0.2_a=1"
    assert folder_name(["../../x=1"]) == "..__..__x=1".replace("__", "_")
    assert folder_name([]) == "nominal"


def test_switches_are_typed_as_a_time_and_what_changes_then():
    navigation = get_family("navigation")
    typed = ["2.5s:goal=0.3,-0.2,mass_scale=2", "1:mass_scale=1.5"]
    assert parse_switches(navigation, typed) == {
        2.5: {"goal": [0.3, -0.2], "mass_scale": 2.0},
        1.0: {"mass_scale": 1.5},
    }


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (["goal=0.1,0.1"], "expected TIME:NAME=VALUE, such as 2.5s:goal="),
        (["2.5s"], "expected TIME:NAME=VALUE"),
        (["2.5s:goal"], "expected TIME:NAME=VALUE"),
        (["2.5s:goal=left"], "expected TIME:NAME=VALUE"),
        (["soon:goal=0.1,0.1"], "expected TIME:NAME=VALUE"),
        (["2.5s:goal=0.1,0.1,goal=0,0"], "a parameter is given twice"),
        (["2.5s:goal=0,0", "2.5:goal=0.1,0.1"], "2.5 s is given twice"),
    ],
)
def test_switches_of_another_form_are_refused(texts, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        parse_switches(get_family("navigation"), texts)
    assert "\n" not in str(caught.value)
