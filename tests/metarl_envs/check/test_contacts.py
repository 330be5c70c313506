"""Causes of friction without effect: the one that holds in the model is named, and only that."""

from __future__ import annotations

import pytest
from support.small_models import box, family_of, robot_of

from metarl_envs import family_from_gym, gym_robot, vary
from metarl_envs.check.parameters import parameters

PAIR = '<contact><pair geom1="floor" geom2="foot" friction=".3 .3"/></contact>'
CAUSES = {
    "max": (box(), "larger friction of two geoms counts, which is that of 'floor' (1, here at"),
    "priority": (box(floor='priority="1"'), "'floor', whose priority is higher (1 over 0)"),
    "condim": (box('condim="1"', 'condim="1"'), "touches 'floor', but without friction (condim 1)"),
    "pair": (box(more=PAIR), "touches 'floor', but by an explicit <pair>"),
    "masks": (
        box(foot='contype="0" conaffinity="0"'),
        "contype and conaffinity of geom 'foot' are 0 and 0",
    ),
    "apart": (box(height=9), "geom 'foot' touches nothing"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_that_holds_is_named(tmp_path, cause):
    xml, named = CAUSES[cause]
    robot = robot_of(tmp_path, xml)
    (found,) = parameters(family_of(robot, lambda r: vary.friction(r, "foot", (0.2, 0.9))))
    assert found.verdict == "FAILED"
    assert named in found.text
    others = [other for name, (_, other) in CAUSES.items() if name != cause]
    assert not any(other in found.text for other in others)


def test_friction_that_counts_passes(tmp_path):
    robot = robot_of(tmp_path, box())
    (found,) = parameters(family_of(robot, lambda r: vary.friction(r, "foot", (0.2, 3.0))))
    assert found.verdict == "ok"
    both = family_of(robot, lambda r: vary.friction(r, "*", (0.2, 0.9)))
    assert next(parameters(both)).verdict == "ok"  # the larger one varies as well


def test_it_is_found_in_a_gymnasium_environment_too():
    robot = gym_robot("Reacher-v5")
    family = family_from_gym(robot, [vary.friction(robot, "link0", (0.2, 0.9))], horizon=10)
    (found,) = parameters(family)
    assert found.verdict == "FAILED"
    assert "contype and conaffinity of geom 'link0' are 0 and 1 in the model" in found.text
