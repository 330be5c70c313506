"""Changes of the task in mid-episode: when, to what, and nothing else."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from support.tiny import tiny_policy

from metarl.policies.mlp import GaussianMlpPolicy
from metarl.policies.params import expand
from metarl.video.episode import Moment, Script, play
from metarl.video.switches import changed_tasks
from metarl_envs import BatchEnv, InputError, TaskFamily, Tasks, get_family

PAYLOAD = get_family("half-cheetah-payload-velocity")
LIGHT = PAYLOAD.make_task({"velocity": 1.0, "torso_mass_scale": 1.0})


def moments(family: TaskFamily, task: Tasks, changes, horizon=12) -> tuple[BatchEnv, list[Moment]]:
    saved = tiny_policy(family.name, horizon=horizon)
    env = BatchEnv(family, 1, 1, horizon=horizon)
    return env, list(play(env, Script(saved.policy, expand(saved.params, 1), task, 0, changes)))


def test_a_switch_takes_effect_at_the_first_control_step_from_its_time_on():
    changes = changed_tasks(PAYLOAD, LIGHT, {2.5: {"velocity": -1}, 0.41: {"velocity": 2}}, 100)
    assert list(changes) == [9, 50]  # of 0.05 s, in the order of time


def test_a_switch_changes_what_it_names_in_the_task_that_the_one_before_left():
    switches = {0.1: {"torso_mass_scale": 2.5}, 0.2: {"velocity": -1.0}}
    first, second = changed_tasks(PAYLOAD, LIGHT, switches, 100).values()
    assert first.describe(0) == {"velocity": 1.0, "torso_mass_scale": 2.5}
    assert second.describe(0) == {"velocity": -1.0, "torso_mass_scale": 2.5}


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({0.0: {"velocity": 1}}, "0 s: must be after the episode's start.*give it as the task"),
        ({-1.0: {"velocity": 1}}, "-1 s: must be after"),
        ({5.0: {"velocity": 1}}, r"ends at 5 s \(100 steps of 0.05 s\); give a time up to 4.95 s"),
        ({2.5: {"velocty": 1}}, "switch at 2.5 s: unknown .*'velocty': did you mean velocity"),
        ({2.5: {"velocity": 9}}, r"velocity = 9.*allowed.*\[-2, 2\]"),
        ({2.51: {"velocity": 1}, 2.52: {"velocity": 0}}, "same control step of 0.05 s"),
        ({2.5: {}}, "must name the parameters that change, such as {'velocity'"),
        ({"soon": {"velocity": 1}}, "time of a switch"),
        ([2.5], "switches = "),
    ],
)
def test_switches_that_cannot_be_are_refused_with_the_remedy(switches, message):
    with pytest.raises(InputError, match=message):
        changed_tasks(PAYLOAD, LIGHT, switches, 100)


def test_steps_before_a_switch_are_the_same_bit_for_bit_and_later_ones_are_not():
    heavy = PAYLOAD.make_task({"velocity": 1.0, "torso_mass_scale": 2.5})
    _, plain = moments(PAYLOAD, LIGHT, {})
    _, switched = moments(PAYLOAD, LIGHT, {7: heavy})
    same = [torch.equal(a.quantity, b.quantity) for a, b in zip(plain, switched, strict=True)]
    assert same == [True] * 8 + [False] * 5


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("half-cheetah-payload-velocity", {}, {"velocity": -1.0, "torso_mass_scale": 2.5}),
        ("half-cheetah-reversed", {}, {"back_leg": -1, "motor_strength": 0.8}),
        ("walker2d-dynamics", None, None),
        ("ant-crippled", {}, None),
    ],
)
def test_after_a_switch_the_world_moves_as_one_that_was_put_there_in_the_new_task(
    name, before, after
):
    family, generator = get_family(name), torch.Generator().manual_seed(3)
    task, other = (
        family.sample_tasks(1, generator, "train") if values is None else family.make_task(values)
        for values in (before, after)
    )
    env, fresh = (BatchEnv(family, 1, 1) for _ in range(2))
    controls = (
        torch.rand(20, 1, len(env.action_low), generator=generator, dtype=torch.float64) - 0.5
    )
    env.set_tasks(task)
    env.reset(torch.Generator().manual_seed(1))
    for control in controls[:10]:
        env.step(control)
    reached = env.state()
    env.set_tasks(other)
    unchanged = env.state()
    fresh.set_tasks(other)
    varied = {f"engine.{field}": value for field, value in fresh_fields(fresh).items()}
    assert all(torch.equal(reached[key], unchanged[key]) for key in reached.keys() - varied.keys())
    fresh.set_state(reached | varied)
    for control in controls[10:]:
        mine, theirs = env.step(control), fresh.step(control)
        assert torch.equal(mine.observations, theirs.observations)
        assert torch.equal(mine.rewards, theirs.rewards)
        assert torch.equal(mine.quantity, theirs.quantity)


def fresh_fields(env: BatchEnv) -> dict[str, torch.Tensor]:
    """The model fields of its task."""
    names = env.engine.base_fields()
    state = env.engine.state()
    return {name: state[name] for name in names}


def test_a_policy_that_observes_the_task_sees_the_change_at_once():
    told = replace(PAYLOAD, observes_task=True)
    other = told.make_task({"velocity": -1.0})
    env = BatchEnv(told, 1, 1, horizon=4)
    saved = tiny_policy(PAYLOAD.name, horizon=4)
    seen = []

    class Seeing(GaussianMlpPolicy):
        def act(self, params, belief, observations):
            seen.append(observations[0, 0, -2].item())
            return super().act(params, belief, observations)

    policy = Seeing.for_family(told, saved.config.policy)
    policy = Seeing(**{field.name: getattr(policy, field.name) for field in fields(policy)})
    params = expand(policy.init(torch.Generator().manual_seed(0)), 1)
    list(play(env, Script(policy, params, LIGHT, 0, {2: other})))
    assert seen == [0.5, 0.5, -0.5, -0.5]  # velocities in units of 2 m/s


def test_rewards_follow_the_goal_from_the_switch_on():
    family = get_family("navigation")
    here, there = (family.make_task({"goal": goal}) for goal in ((0.4, -0.3), (-0.4, 0.3)))
    env, switched = moments(family, here, {5: there}, horizon=10)
    _, plain = moments(family, here, {}, horizon=10)
    rewards = np.array([moment.rewards.item() for moment in switched[1:]])
    np.testing.assert_array_equal(rewards[:5], [m.rewards.item() for m in plain[1:6]])
    # The policy observes no goal, so it goes the same way; rewards are minus the distance.
    place = env.engine.data["qpos"][0, :2]
    assert rewards[-1] == pytest.approx(-float((place - there.values["goal"][0]).norm()))
