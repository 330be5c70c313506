"""Late actions, noisy and biased observations."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Generator

from metarl_envs import BatchEnv, InputError, MetaEnv, TaskFamily, get_family, vary
from metarl_envs.perturbations import mixed, noise
from metarl_envs.robots.half_cheetah import HALF_CHEETAH


def family(*parameters) -> TaskFamily:
    plain = get_family("half-cheetah-direction")
    return dataclasses.replace(plain, name="perturbed", parameters=parameters)


DELAY = vary.action_delay(2, extrapolation=(3,))
NOISE = vary.observation_noise(HALF_CHEETAH, (0.0, 0.5), entries=[0, 2, 16])
BIAS = vary.observation_bias(HALF_CHEETAH, (-1.0, 1.0), entries=[1, 3])
NONE = (vary.goal("direction", (-1.0, 1.0), 1.0),)
ALL = family(*NONE, DELAY, NOISE, BIAS)


def run(env: BatchEnv, actions: torch.Tensor, seed: int = 0, mask=None) -> list[torch.Tensor]:
    """Observations after the reset and each step."""
    seen = [env.reset(Generator().manual_seed(seed)).clone()]
    return seen + [env.step(action, mask).observations.clone() for action in actions]


def random_actions(steps: int, worlds: int) -> torch.Tensor:
    return torch.rand((steps, worlds, 6), generator=Generator().manual_seed(9)).double() * 2 - 1


def test_mixed_is_splitmix64():
    # Published output of the generator with seed 0 (its state before output i is i * gamma).
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    got = [int(number) & (2**64 - 1) for number in mixed(torch.tensor([1, 2, 3]))]
    assert got == expected


def test_noise_is_standard_independent_and_depends_on_nothing_else():
    seeds = torch.arange(2000)
    drawn = noise(seeds, torch.full((2000,), 3), 4)
    assert abs(float(drawn.mean())) < 0.03
    assert abs(float(drawn.std()) - 1.0) < 0.03
    assert float(np.abs(np.corrcoef(drawn.T.numpy()) - np.eye(4)).max()) < 0.1
    later = noise(seeds, torch.full((2000,), 4), 4)
    assert abs(float(np.corrcoef(drawn[:, 0].numpy(), later[:, 0].numpy())[0, 1])) < 0.1
    assert torch.equal(noise(seeds[5:6], torch.tensor([3]), 4), drawn[5:6])


def test_a_delayed_action_arrives_when_it_should():
    env, plain = BatchEnv(family(*NONE, DELAY), 3, 1), BatchEnv(family(*NONE), 3, 1)
    tasks = {"direction": torch.ones(3), "action_delay": torch.tensor([0.0, 1.0, 3.0])}
    env.set_tasks(dataclasses.replace(env.tasks, values=tasks))
    actions = random_actions(6, 3)
    arriving = torch.zeros_like(actions)
    for world, delay in enumerate((0, 1, 3)):
        arriving[delay:, world] = actions[: 6 - delay, world]
    for one, two in zip(run(env, actions), run(plain, arriving), strict=True):
        assert torch.equal(one, two)
    # A new episode begins without what was on its way.
    for one, two in zip(run(env, actions), run(plain, arriving), strict=True):
        assert torch.equal(one, two)


def test_noise_and_bias_fall_on_their_entries_alone_and_leave_the_motion():
    env, plain = BatchEnv(ALL, 2, 1), BatchEnv(family(*NONE), 2, 1)
    tasks = ALL.make_task({"observation_noise": 0.3, "observation_bias": [0.5, -0.25]})
    env.set_tasks(tasks[[0, 0]])
    actions = random_actions(5, 2)
    generator, other = Generator().manual_seed(0), Generator().manual_seed(0)
    env.reset(generator)
    plain.reset(other)
    for action in actions:
        step, true = env.step(action), plain.step(action)
        error = step.observations - true.observations
        assert torch.allclose(error[:, 1], torch.tensor(0.5).double())
        assert torch.allclose(error[:, 3], torch.tensor(-0.25).double())
        assert error[:, [0, 2, 16]].abs().min() > 0
        assert error[:, [4, 5, 6, 15]].abs().max() == 0
        assert torch.equal(step.rewards, true.rewards)


@pytest.mark.parametrize("gain_first", [True, False])
def test_a_gain_multiplies_what_is_true_and_a_bias_comes_on_top_whatever_the_order(gain_first):
    gain = vary.observation_gain(HALF_CHEETAH, (-1.0, 2.0), entries=[3, 4])
    env = BatchEnv(family(*NONE, *((gain, BIAS) if gain_first else (BIAS, gain))), 1, 1)
    task = {"observation_gain": [-1.0, 0.5], "observation_bias": [0.5, -0.25]}
    env.set_tasks(env.family.make_task(task))
    plain, actions = BatchEnv(family(*NONE), 1, 1), random_actions(4, 1)
    for seen, true in zip(run(env, actions), run(plain, actions), strict=True):
        expected = true.clone()
        expected[:, 1] += 0.5
        expected[:, 3] = -true[:, 3] - 0.25
        expected[:, 4] *= 0.5
        torch.testing.assert_close(seen, expected, rtol=0, atol=1e-14)


def test_an_oracle_observes_the_true_task():
    oracle = dataclasses.replace(ALL, observes_task=True)
    env, without = BatchEnv(oracle, 2, 1), BatchEnv(ALL, 2, 1)
    tasks = oracle.sample_tasks(2, Generator().manual_seed(1), "train")
    env.set_tasks(tasks)
    without.set_tasks(tasks)
    actions = random_actions(3, 2)
    for one, two in zip(run(env, actions), run(without, actions), strict=True):
        assert torch.equal(one[:, :17], two)
        assert torch.equal(one[:, 17:], oracle.task_features(tasks))


def test_what_a_perturber_remembers_stays_where_it_is():
    """Since recorded steps keep addresses."""
    env = BatchEnv(ALL, 2, 1)
    env.set_tasks(ALL.sample_tasks(2, Generator().manual_seed(1), "train"))
    kept = [env._perturber._seeds, env._perturber._past]
    before = [value.clone() for value in kept]
    run(env, random_actions(3, 2), mask=torch.tensor([True, False]))
    assert not any(torch.equal(value, old) for value, old in zip(kept, before, strict=True))


def test_a_worlds_noise_depends_on_no_other_world_and_on_no_mask():
    env = BatchEnv(ALL, 3, 1)
    tasks = ALL.sample_tasks(3, Generator().manual_seed(1), "train")
    env.set_tasks(tasks)
    actions = random_actions(4, 3)
    together = run(env, actions)
    masked = run(env, actions, mask=torch.tensor([True, False, True]))
    alone = BatchEnv(ALL, 1, 1)
    alone.set_tasks(tasks[2])
    start = env.draw_start(3, Generator().manual_seed(0))
    rows = {name: value[2:] for name, value in vars(start).items()}
    seen = [alone.start(dataclasses.replace(start, **rows))]
    seen += [alone.step(action[2:]).observations.clone() for action in actions]
    for one, two, three in zip(together, masked, seen, strict=True):
        assert torch.equal(one[[0, 2]], two[[0, 2]])
        assert torch.equal(one[2:], three)


def test_a_partial_reset_leaves_the_other_worlds_what_they_were():
    env = BatchEnv(ALL, 2, 1)
    env.set_tasks(ALL.sample_tasks(2, Generator().manual_seed(1), "train"))
    actions = random_actions(4, 2)
    whole = run(env, actions)
    env.reset(Generator().manual_seed(0))
    env.step(actions[0])
    env.step(actions[1])
    again = env.reset(Generator().manual_seed(5), torch.tensor([True, False]))
    assert torch.equal(again[1], whole[2][1])
    assert not torch.equal(again[0], whole[2][0])
    assert torch.equal(env.step(actions[2]).observations[1], whole[3][1])


def test_families_without_noise_draw_what_they_always_drew():
    generator, other = Generator().manual_seed(0), Generator().manual_seed(0)
    BatchEnv(family(*NONE, DELAY, BIAS), 2, 1).reset(generator)
    BatchEnv(get_family("half-cheetah-direction"), 2, 1).reset(other)
    assert torch.equal(generator.get_state(), other.get_state())


def test_single_world_and_batch_agree_step_by_step():
    task = ALL.sample_tasks(1, Generator().manual_seed(4), "extrapolation")
    single = MetaEnv(ALL)
    single.set_task(task)
    first, _ = single.reset(seed=3)
    batch = BatchEnv(ALL, 1, 1)
    batch.set_tasks(task)
    seed = int(np.random.default_rng(np.random.SeedSequence(3)).integers(2**62))
    assert np.array_equal(first, batch.reset(Generator().manual_seed(seed))[0].numpy())
    for action in random_actions(6, 1).float():
        observation, reward, *_ = single.step(action[0].numpy())
        step = batch.step(action)
        assert np.array_equal(observation, step.observations[0].numpy())
        assert reward == step.rewards[0].item()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vary.action_delay(0), "longest = 0"),
        (
            lambda: vary.action_delay(2, extrapolation=(1,)),
            "whole numbers of control steps above 2",
        ),
        (lambda: vary.observation_noise(HALF_CHEETAH, (0, 1), entries=[17]), "from 0 to 16"),
        (lambda: vary.observation_bias(HALF_CHEETAH, (0, 1), entries=[]), "from 0 to 16"),
        (lambda: vary.observation_bias(HALF_CHEETAH, (0, 1), entries=[2, 2]), "different indices"),
        (lambda: vary.observation_gain(HALF_CHEETAH, (0, 1), entries=[-1]), "from 0 to 16"),
    ],
)
def test_impossible_perturbations_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_robot_without_a_simulator_can_be_disturbed_too():
    plain = get_family("navigation")
    perturbed = dataclasses.replace(plain, parameters=(*plain.parameters, vary.action_delay(1)))
    env = BatchEnv(perturbed, 2, 1)
    tasks = {"goal": torch.ones(2, 2) * 0.3, "action_delay": torch.tensor([0.0, 1.0])}
    env.set_tasks(dataclasses.replace(env.tasks, values=tasks))
    env.reset(Generator().manual_seed(0))
    moved = env.step(torch.full((2, 2), 0.1)).observations
    assert moved.tolist() == [[pytest.approx(0.1)] * 2, [0.0, 0.0]]
