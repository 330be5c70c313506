"""Navigate-hidden: walls, doors and current, felt by a robot that sees its position alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Generator

from metarl_envs import BatchEnv, Tasks, Transition, get_family
from metarl_envs.check.parameters import parameters
from metarl_envs.distributions import interval
from metarl_envs.parameters import ModelEffect, Parameter

FAMILY = get_family("navigate-hidden")


def driven(values, starts, actions, threads=1) -> torch.Tensor:
    """Positions (N, 2) after these actions, from these starts."""
    tasks = Tasks.concatenate([FAMILY.make_task(value) for value in values])
    env = BatchEnv(FAMILY, len(values), 1, sim_threads=threads)
    env.set_tasks(tasks)
    qpos = torch.tensor(starts, dtype=torch.float64)
    env.engine.reset(None, qpos, torch.zeros_like(qpos))
    for action in actions:
        env.step(torch.tensor(action).expand(len(values), 2))
    return env.engine.data["qpos"].clone()


def test_the_reward_is_minus_the_distance_to_the_goal_and_the_observation_tells_its_place():
    task = {"goal_y": torch.tensor([0.5]), "current": torch.full((1, 2), 9.0)}
    before, after = {"qpos": torch.zeros(1, 2)}, {"qpos": torch.tensor([[1.6, 0.2]])}
    transition = Transition(before, after, torch.ones(1, 2), 0.1, task)
    assert FAMILY.reward(transition).item() == pytest.approx(-0.5)  # a 3-4-5 triangle
    quantity = FAMILY.robot.quantities[FAMILY.quantity]
    assert quantity(transition).item() == pytest.approx(0.5)
    assert not FAMILY.termination(transition).any()
    seen = FAMILY.robot.observation({"qpos": after["qpos"], "qvel": torch.ones(1, 2)})
    assert seen.tolist() == after["qpos"].tolist()
    assert FAMILY.observed_task(FAMILY.make_task({"goal_y": 0.7})).tolist() == [[0.7]]


def test_a_door_lets_the_robot_through_where_the_task_has_it_and_nowhere_else():
    doors = [{"first_door": y} for y in (-0.9, -0.9, 0.6, 0.6)]
    starts = [(-1.5, -0.9), (-1.5, 0.6), (-1.5, -0.9), (-1.5, 0.6)]
    x = driven(doors, starts, [(1.0, 0.0)] * 13)[:, 0]
    # The wall's face is at -0.86 m, the robot's radius 0.12 m; 1.3 s at 1 m/s without a wall.
    assert x[[1, 2]].tolist() == pytest.approx([-0.98, -0.98], abs=0.005)
    assert x[[0, 3]].tolist() == pytest.approx([-0.3, -0.3], abs=0.15)


def test_the_second_wall_has_a_door_of_its_own():
    tasks = [{"second_door": 0.8}, {"second_door": -0.8}]
    x = driven(tasks, [(0.2, 0.8)] * 2, [(1.0, 0.0)] * 13)[:, 0]
    assert x[0] > 1.2
    assert x[1].item() == pytest.approx(0.62, abs=0.005)


def test_panels_fill_the_wall_but_for_the_door():
    env = BatchEnv(FAMILY, 1, 1)
    env.set_tasks(FAMILY.make_task({"first_door": 0.4, "second_door": -1.0}))
    model, _ = env.engine.host_world(0)
    for wall, door in (("first", 0.4), ("second", -1.0)):
        ends = []
        for panel in ("below", "above"):
            geom = model.geom(f"{wall}_{panel}")
            ends += [geom.pos[1] - geom.size[1], geom.pos[1] + geom.size[1]]
        assert ends == pytest.approx([-1.5, door - 0.25, door + 0.25, 1.5])


def test_the_robot_slides_along_a_wall_into_the_door():
    # Down along the wall at nearly 1 m/s from y = 0.8: through the door at 0 after 0.6 s or so.
    end = driven([{"first_door": 0.0}], [(-1.0, 0.8)], [(1.0, -1.0)] * 12)[0]
    assert end[0] > -0.6


def test_the_current_is_the_speed_of_a_robot_without_drive():
    start = [(-1.8, 0.0)]
    end = driven([{"current": [0.1, -0.2]}], start, [(0.0, 0.0)] * 20)[0]
    # 2 s, less the 0.1 s that the servos' time constant (2 kg / 20 N s/m) costs.
    assert end.tolist() == pytest.approx([-1.8 + 0.19, -0.38], abs=0.005)


def test_starts_lie_before_the_first_wall_and_follow_the_seed():
    env = BatchEnv(FAMILY, 1, 1)
    start = env.draw_start(1000, Generator().manual_seed(0))
    assert torch.equal(start.qpos, env.draw_start(1000, Generator().manual_seed(0)).qpos)
    low, high = start.qpos.min(dim=0).values, start.qpos.max(dim=0).values
    assert low.tolist() == pytest.approx([-2.2, -1.3], abs=0.02)
    assert high.tolist() == pytest.approx([-1.4, 1.3], abs=0.02)


def test_trajectories_do_not_depend_on_simulator_threads():
    values = [{"first_door": y, "current": [y / 10, 0.1]} for y in (-0.9, -0.3, 0.1, 0.5, 0.9)]
    actions = [(1.0, 0.5)] * 25
    one, three = (driven(values, [(-1.5, -1.0)] * 5, actions, threads=n) for n in (1, 3))
    assert torch.equal(one, three)
    assert len(one.unique(dim=0)) == 5


def test_a_door_that_the_checks_motions_do_not_meet_is_a_note_and_no_failure():
    found = {finding.name.split()[0]: finding for finding in parameters(FAMILY)}
    assert found["first_door"].verdict == found["second_door"].verdict == "note"
    assert "need have met what it moves" in found["first_door"].text
    assert found["goal_y"].verdict == found["current"].verdict == "ok"


def test_a_part_of_the_robot_that_is_moved_without_effect_is_a_failure():
    body = FAMILY.robot.load_model().body("robot").id

    def shifted(fields, value):
        position = fields["body_pos"].clone()
        position[:, body, 2] += value  # as high, it meets the same walls at the same places
        return {"body_pos": position}

    effect = ModelEffect(("body_pos",), shifted)
    idle = Parameter("shift", "m", "", 0.0, interval(0.001, 0.002), effect=effect)
    own = dataclasses.replace(
        FAMILY, name="own", parameters=(*FAMILY.parameters[:1], idle), horizon=5
    )
    found = {finding.name.split()[0]: finding for finding in parameters(own)}
    assert found["shift"].verdict == "FAILED"
