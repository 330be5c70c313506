"""Observations as networks read them, and changes that are written and carried out."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Generator

from metarl.policies.motion import Motion
from metarl.policies.params import expand
from metarl.policies.planning import PAST, PlanningConfig, PlanningPolicy
from metarl_envs import BatchEnv, Floating, get_family
from metarl_envs.rotations import one_after_another

ANT = get_family("ant-crippled")
OF_THE_ANT = Motion(27, floating=Floating(1, 13))
SCALE = (torch.zeros(27, dtype=torch.float64), torch.full((27,), 2.0, dtype=torch.float64))


def steps(count=40, worlds=4):
    """Observations before and after random steps of ants that start at random: (S, N, 27)."""
    env, generator = BatchEnv(ANT, worlds, 1), Generator().manual_seed(0)
    env.set_tasks(ANT.sample_tasks(worlds, generator, "train"))
    seen = [env.reset(generator)]
    for _ in range(count):
        actions = 2 * torch.rand(worlds, 8, generator=generator, dtype=torch.float64) - 1
        seen.append(env.step(actions).observations)
    return torch.stack(seen[:-1]), torch.stack(seen[1:])


def with_heading(observations, radians):
    """The same robot on a floor that is turned."""
    cos, sin = math.cos(radians), math.sin(radians)
    yaw = torch.tensor([math.cos(radians / 2), 0, 0, math.sin(radians / 2)], dtype=torch.float64)
    turn = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
    attitude = one_after_another(yaw.expand(*observations.shape[:-1], 4), observations[..., 1:5])
    parts = [
        observations[..., :1],
        attitude,
        observations[..., 5:13],
        observations[..., 13:15] @ turn.T,
        observations[..., 15:],
    ]
    return torch.cat(parts, dim=-1)


def test_networks_read_all_else_and_then_sines_and_cosines():
    scale = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0])
    read = Motion(2, angles=(0,)).read(torch.tensor([[0.5, 4.0]]), scale)
    torch.testing.assert_close(read, torch.tensor([[0.5, math.sin(0.5), math.cos(0.5)]]))


def test_of_a_floating_body_networks_read_gravity_and_its_own_velocity():
    quarter = math.sqrt(0.5)
    seen = torch.arange(27.0, dtype=torch.float64)
    # Nose down: what is below is ahead of it, and who falls goes ahead.
    seen[1:5] = torch.tensor([quarter, 0, quarter, 0])
    seen[13:16] = torch.tensor([0.0, 0.0, -3.0])
    read = OF_THE_ANT.read(seen, SCALE)
    assert len(read) == OF_THE_ANT.read_size == 26
    joints, others = seen[5:13] / 2, seen[16:] / 2
    assert read[0] == 0
    torch.testing.assert_close(read[1:9], joints)
    torch.testing.assert_close(read[9:20], others.clamp(max=10))
    wanted = torch.tensor([1.0, 0.0, 0.0, 1.5, 0.0, 0.0]).double()
    torch.testing.assert_close(read[20:], wanted, atol=1e-12, rtol=0)


def test_angles_and_a_floating_body_may_be_in_one_observation():
    motion = Motion(10, task_size=1, angles=(0, 8), floating=Floating(1, 5))
    seen = torch.tensor([0.5, 1, 0, 0, 0, 1, 2, 3, 0.25, 7]).double()
    scale = torch.zeros(10).double(), torch.ones(10).double()
    wanted = [7, math.sin(0.5), math.sin(0.25), math.cos(0.5), math.cos(0.25), 0, 0, -1, 1, 2, 3]
    assert motion.read(seen, scale).tolist() == pytest.approx(wanted)
    assert (motion.read_size, motion.change_size) == (11, 8)


@pytest.mark.parametrize("motion", [OF_THE_ANT, dataclasses.replace(OF_THE_ANT, task_size=3)])
def test_a_change_leads_back_to_what_the_simulator_reached(motion):
    before, after = steps()
    task = slice(27 - motion.task_size, None)
    after = torch.cat([after[..., : task.start], before[..., task]], dim=-1)
    change = motion.change(before, after)
    assert change.shape[-1] == motion.change_size == 26 - motion.task_size
    reached = motion.after(before, change)
    assert float(change[..., 1:4].abs().max()) > 0.1  # the ants do turn
    torch.testing.assert_close(reached, after, atol=1e-9, rtol=0)
    torch.testing.assert_close(reached[..., task], before[..., task], rtol=0, atol=0)


@pytest.mark.parametrize("radians", [0.7, math.pi])
def test_what_is_read_and_changed_is_the_same_with_any_heading(radians):
    before, after = steps()
    turned = with_heading(before, radians), with_heading(after, radians)
    assert float((turned[0] - before).abs().max()) > 0.3
    torch.testing.assert_close(OF_THE_ANT.read(turned[0], SCALE), OF_THE_ANT.read(before, SCALE))
    change = OF_THE_ANT.change(before, after)
    torch.testing.assert_close(OF_THE_ANT.change(*turned), change, atol=1e-9, rtol=0)
    torch.testing.assert_close(OF_THE_ANT.after(turned[0], change), turned[1], atol=1e-9, rtol=0)


def test_a_sensor_that_errs_shows_a_turn_all_the_same():
    before, after = steps(5)
    wrong = before.clone()
    wrong[..., 1:5] *= 1.1
    change = OF_THE_ANT.change(wrong, after)
    torch.testing.assert_close(change[..., 1:4], OF_THE_ANT.change(before, after)[..., 1:4])


def ant_policy(reward):
    low, high = ANT.action_bounds()
    return PlanningPolicy.of(
        ANT,
        PlanningConfig(reward=reward, window=4, hidden_sizes=(8,), plan_steps=5, candidates=8),
        observation_size=ANT.observation_size,
        action_low=tuple(low.tolist()),
        action_high=tuple(high.tolist()),
    )


def test_a_plan_leads_an_ant_of_another_heading_to_the_same_place_as_seen_from_it():
    policy = ant_policy("family")
    assert isinstance(policy, PlanningPolicy)
    params = {n: v.double() for n, v in policy.init(Generator().manual_seed(1)).items()}
    params = expand(params, 1)
    model = policy.dynamics.adapted(params, policy.steps_of(params, policy.begin(params, 1)[PAST]))
    now, generator = steps(1, 1)[0], Generator().manual_seed(2)
    plans = torch.rand(1, 1, 3, 5, 8, generator=generator, dtype=torch.float64) - 0.5
    states, _ = policy.imagined(params, model, now, plans)
    turned, _ = policy.imagined(params, model, with_heading(now, 2.0), plans)
    torch.testing.assert_close(turned, with_heading(states, 2.0), atol=1e-6, rtol=0)


def test_a_learned_reward_may_ask_for_the_heading():
    policy = ant_policy("learned")
    assert isinstance(policy, PlanningPolicy)
    assert policy.motion == Motion(27)
