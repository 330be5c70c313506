"""Policies with a context: their belief is the posterior of all that a trial has shown."""

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from metarl.policies.base import Policy
from metarl.policies.belief import Outcome
from metarl.policies.context import OBSERVATION, OFFSET, PRECISION, WEIGHTED, ContextConfig
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.rollouts.trials import joined
from metarl_envs import BatchEnv, Tasks, get_family

KINDS = ("product", "mean", "attention")
CONFIG = ContextConfig(
    action_scale=10.0,
    latent_size=2,
    encoder_sizes=(8,),
    hidden_sizes=(8,),
    normalize_observations=True,
)
HORIZON = 15
NAVIGATION = get_family("navigation")


def made(kind="product", **changes):
    """A policy whose normaliser has seen something."""
    config = dataclasses.replace(CONFIG, encoder=kind, **changes)
    policy = Policy.for_family(NAVIGATION, config)
    generator = torch.Generator().manual_seed(0)
    params = {name: value.double() for name, value in policy.init(generator).items()}
    seen = torch.randn(50, policy.observation_size, generator=generator)
    return policy, policy.update_statistics(params, seen, torch.ones(50, dtype=torch.bool))


def episodes_of(policy, params, belief=None):
    """Two consecutive episodes in four worlds, of which one ends at its goal."""
    env = BatchEnv(NAVIGATION, 2, 2, horizon=HORIZON)
    collector = Collector(env, policy)

    def collected(goals):
        env.set_tasks(Tasks({"goal": goals}))
        rng = torch.Generator().manual_seed(4)
        first = collector.collect(expand(params, 2), rng, rng, belief=belief)
        return [first, collector.collect(expand(params, 2), rng, rng, belief=first.belief)]

    far = torch.full((2, 2), 0.7, dtype=torch.float64)
    reached = collected(far)[0].observations[0, 1, 5].double()
    episodes = collected(torch.stack([reached, far[1]]))
    assert int(episodes[0].valid[0, 1].sum()) < HORIZON
    return episodes


def whole_set(policy, params, rollouts):
    """Sums over all transitions of a world's episodes, one world at a time."""
    sums = torch.zeros(2, 2, 2, policy.config.latent_size, dtype=torch.float64)
    for episode in rollouts:
        for m, e in torch.cartesian_prod(torch.arange(2), torch.arange(2)):
            steps = int(episode.valid[m, e].sum())
            before = episode.observations[m, e, :steps]
            after = torch.cat([before[1:], episode.final_observations[m, e, None]])
            actions = policy.squashed(episode.actions[m, e, :steps])
            rewards = episode.rewards[m, e, :steps]
            factors = policy.factors(params, before, actions, rewards, after)
            sums[:, m, e] += torch.stack([factors.precision.sum(0), factors.weighted.sum(0)])
    return sums


@pytest.mark.parametrize("kind", KINDS)
def test_the_belief_after_two_episodes_is_that_of_all_their_transitions(kind):
    policy, params = made(kind)
    collected = episodes_of(policy, params)
    precision, weighted = whole_set(policy, params, collected)
    assert_close(collected[-1].belief[PRECISION].double(), precision, rtol=1e-5, atol=1e-5)
    assert_close(collected[-1].belief[WEIGHTED].double(), weighted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_distributions_are_those_of_the_step_loop(kind):
    policy, params = made(kind)
    noise = torch.randn((2, 2, 2), generator=torch.Generator().manual_seed(5)).double()
    begun = policy.begin(expand(params, 2), 2) | {OFFSET: noise}
    first, second = episodes_of(policy, params, begun)
    trial = joined([first, second], torch.zeros(2, 2 * HORIZON, 1), begun)
    shared, own = expand(params, 1), expand(params, 2)
    for episodes, of in ((first, own), (second, own), (trial, shared)):
        found, expected = (
            policy.distribution(of, episodes),
            Policy.distribution(policy, of, episodes),
        )
        assert_close(found.mean[episodes.valid], expected.mean[episodes.valid])
        assert found.log_std.shape == expected.log_std.shape


def test_a_trial_begins_with_the_mean_of_the_prior_or_a_sample():
    policy, params = made()
    observations = torch.randn((1, 3, 2), generator=torch.Generator().manual_seed(1)).double()
    begun = policy.begin(expand(params, 1), 3)
    standard = policy.standardised(params, observations)

    def mean(z):
        return policy.mean(params, standard, z)

    def acted(belief):
        return policy.act(expand(params, 1), belief, observations)[0].mean

    assert_close(acted(begun), mean(torch.zeros(1, 3, 2).double()))
    noise = torch.randn((1, 3, 2), generator=torch.Generator().manual_seed(2)).double()
    assert_close(acted(begun | {OFFSET: noise}), mean(noise))
    # With precision 3 beside the prior's 1, a deviation is a half; the mean is 8 / 4.
    known = {PRECISION: torch.full_like(noise, 3), WEIGHTED: torch.full_like(noise, 8)}
    assert_close(acted(begun | known | {OFFSET: noise}), mean(2 + noise / 2))


def outcome(policy, reward):
    return Outcome(
        torch.zeros(1, 1, 2).double(),
        torch.full((1, 1), reward).double(),
        torch.zeros(1, 1, dtype=torch.bool),
        torch.zeros(1, 1, dtype=torch.bool),
        torch.ones(1, 1, policy.observation_size).double(),
    )


def test_rewards_are_read_only_if_asked():
    for observed in (True, False):
        policy, params = made(observe_reward=observed)
        begun = policy.begin(expand(params, 1), 1)
        one, other = (
            policy.observe(expand(params, 1), begun, outcome(policy, r))[WEIGHTED]
            for r in (0.0, 5.0)
        )
        assert torch.equal(one, other) != observed


def test_the_observation_before_an_action_is_remembered_for_its_outcome():
    policy, params = made()
    observations = torch.full((1, 1, 2), 0.3).double()
    _, belief = policy.act(expand(params, 1), policy.begin(expand(params, 1), 1), observations)
    assert torch.equal(belief[OBSERVATION], observations)


def test_controls_are_squashed_and_outputs_are_finite_at_the_bounds():
    policy = dataclasses.replace(
        made()[0], config=dataclasses.replace(CONFIG, action_scale=2.0), action_low=(-1.0, 0.0)
    )
    outputs = torch.tensor([[-1.0, 0.5], [0.0, 3.0]]).double()
    low, high = torch.tensor([-1.0, 0.0]), torch.tensor(policy.action_high)
    expected = (low + high) / 2 + (high - low) / 2 * torch.tanh(outputs / 2)
    assert_close(policy.controls(outputs), expected.double())
    assert_close(policy.outputs(policy.controls(outputs)), outputs)
    for bound, limit in zip(policy.output_bounds(), (low, high), strict=True):
        assert bool(bound.isfinite().all())
        assert_close(policy.controls(bound), limit.double(), atol=1e-5, rtol=0)
    tight = dataclasses.replace(policy, control_limits=((-0.1, 0.4), (0.1, 0.6)))
    assert tight.controls(torch.tensor([20.0, -20.0])).tolist() == pytest.approx([0.1, 0.4])
