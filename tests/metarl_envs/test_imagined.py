"""Rewards of imagined steps beside those that the simulator pays."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Generator

from metarl_envs import FAMILIES, BatchEnv, get_family, vary
from metarl_envs.imagined import imagined_outcomes, tells_outcomes

AGREEMENT = {
    "base-reversed": (1.0, 1e-6),
    "hopper-dynamics": (0.999, 0.01),
    "walker2d-dynamics": (0.999, 0.01),
    "puck-slide": (0.999, 0.02),
    "ant-crippled": (0.98, 0.02),
    "half-cheetah-crippled": (0.95, 0.02),
    "half-cheetah-dynamics": (0.93, 0.02),
    "half-cheetah-reversed": (0.95, 0.02),
}
"""Least correlation with the true rewards of random actions, and largest difference of the means,
in their deviations. A velocity's mean over a step is that of both ends: the faster it changes
within the step, the less exactly."""


def test_the_families_that_tell_their_rewards_are_these():
    assert {name for name in FAMILIES if tells_outcomes(get_family(name))} == set(AGREEMENT)


@pytest.mark.parametrize("name", AGREEMENT)
def test_imagined_outcomes_are_nearly_those_of_the_simulator(name):
    family, generator = get_family(name), Generator().manual_seed(0)
    env = BatchEnv(family, 8, 2, sim_threads=1)
    env.set_tasks(family.sample_tasks(8, generator, "train"))
    before, (low, high) = env.reset(generator), family.action_bounds()
    alive, pairs, ends = torch.ones(16, dtype=torch.bool), [], []
    for _ in range(40):
        share = torch.rand(16, len(low), generator=generator, dtype=torch.float64)
        controls = (low + (high - low) * share).float()
        step = env.step(controls)
        told = imagined_outcomes(family, before, controls, step.observations)
        pairs.append(torch.stack([step.rewards, told.rewards])[:, alive].double())
        ends.append((step.terminated == told.terminated)[alive])
        before = step.observations.clone()
        alive = alive & ~(step.terminated | step.truncated | step.diverged)
        if not bool(alive.any()):
            break
    paired = torch.cat(pairs, dim=1)
    correlation, difference = AGREEMENT[name]
    assert float(torch.corrcoef(paired)[0, 1]) >= correlation - 1e-6
    bias = (paired[0] - paired[1]).mean() / paired[0].std()
    assert abs(float(bias)) <= difference
    assert bool(torch.cat(ends).all())


def test_a_hidden_goal_or_a_robot_without_states_tells_nothing():
    base = get_family("base-reversed")
    goal = dataclasses.replace(base.parameters[0], observed=False)
    hidden = dataclasses.replace(base, parameters=(goal, *base.parameters[1:]))
    unseen = dataclasses.replace(base, robot=dataclasses.replace(base.robot, recovered=None))
    assert tells_outcomes(base)
    assert not tells_outcomes(hidden) and not tells_outcomes(unseen)


@pytest.mark.parametrize(
    ("vary_sensor", "tells"),
    [
        (vary.observation_noise, True),
        (vary.observation_bias, False),
        (vary.observation_gain, False),
    ],
)
def test_states_do_not_follow_from_sensors_with_constant_errors(vary_sensor, tells):
    base = get_family("base-reversed")
    error = vary_sensor(base.robot, (0.1, 0.2), entries=[0])
    family = dataclasses.replace(base, parameters=(*base.parameters, error))
    assert tells_outcomes(family) is tells


def test_states_do_not_follow_from_encoders_with_constant_errors():
    arm = get_family("arm-encoder")
    recovered = get_family("base-reversed").robot.recovered
    (offset,) = [p for p in arm.parameters if p.name == "encoder_offset"]
    told = tuple(dataclasses.replace(p, observed=True) for p in arm.parameters if p is not offset)
    robot = dataclasses.replace(arm.robot, recovered=recovered)
    right = dataclasses.replace(arm, robot=robot, parameters=told)
    assert tells_outcomes(right)
    assert not tells_outcomes(dataclasses.replace(right, parameters=(*told, offset)))


def test_another_goal_may_be_asked_for_at_any_step():
    base = get_family("base-reversed")
    observations = torch.zeros(3, 8)
    observations[:, 6] = torch.tensor([1.0, 2.0, -30.0])
    told = imagined_outcomes(base, observations, torch.zeros(3, 2), observations)
    assert told.rewards.tolist() == [-1, -2, -30]


def test_vectors_and_numbers_of_the_task_reach_the_reward_with_their_shapes():
    seen = {}

    def reward(transition):
        seen.update({name: value.shape for name, value in transition.task.items()})
        return transition.action.sum(1)

    base = get_family("base-reversed")
    level = vary.goal("level", (0.0, 1.0), 0.5, observed=True)
    family = dataclasses.replace(base, parameters=(*base.parameters, level), reward=reward)
    observations = torch.zeros(4, family.observation_size)
    imagined_outcomes(family, observations, torch.zeros(4, 2), observations)
    assert seen == {"goal": (4, 2), "motor_gear": (4, 2), "side": (4,), "level": (4,)}
