"""PPO over trials against a computation of its own; no gradient between policy and critic."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from support.trials import F, O, double, memory_policy, privileged_policy, some_trial
from torch import Generator

from metarl.outer.critic import Critic, learned_of
from metarl.outer.meta_gradient import CPU
from metarl.outer.trial_ppo import (
    CRITIC,
    CRITIC_ADAM,
    POLICY_ADAM,
    Actor,
    PpoSettings,
    largest_std,
    leaves,
    paced,
    ppo_update,
    shuffled,
    without_prefix,
)
from metarl.policies.base import Policy
from metarl.policies.params import expand, learned
from metarl.policies.privileged import TASK_FEATURES

GAMMA, LAMBDA, CLIP = 0.9, 0.7, 0.2
POLICY = memory_policy()
CRITICS = {
    "memory": Critic(O, memory=POLICY, hidden_sizes=(7,)),
    "task": Critic(O, features=F, summary=POLICY.config.memory_size, hidden_sizes=(7,)),
}


def problem(knowledge):
    """Actor, parameters, training state, and a trial whose ratios are partly out of bounds."""
    actor = Actor(POLICY, CRITICS[knowledge])
    params = double(POLICY.init(Generator().manual_seed(1)))
    training = actor.init_training(params, Generator().manual_seed(2))
    training = {n: v.double() if v.is_floating_point() else v for n, v in training.items()}
    trial = some_trial(POLICY, params)
    steps = trial.log_probs.numel()
    shift = torch.linspace(-0.5, 0.5, steps, dtype=torch.float64).reshape(trial.log_probs.shape)
    return actor, params, training, trial, trial.log_probs.copy_(trial.log_probs + shift)


def updated(knowledge, **changes):
    actor, params, training, trial, _ = problem(knowledge)
    chosen = {"epochs": 1, "minibatches": 1, "clip": CLIP, "max_grad_norm": 1e3}
    stream = Generator().manual_seed(0)
    return ppo_update(
        actor,
        params,
        training,
        trial,
        PpoSettings(**(chosen | changes)),
        stream,
        discount=GAMMA,
        gae_lambda=LAMBDA,
    )


def worked(knowledge):
    """Both losses at their leaves: acting step by step, and one valid step after another."""
    actor, params, training, trial, old = problem(knowledge)
    fitted = learned_of(without_prefix(CRITIC, training))
    at, critic_at = leaves(learned(params)), leaves(fitted)
    # The policy's own loop of `act` and `observe`, instead of a scan.
    dist = Policy.distribution(POLICY, expand(params | at, 1), trial)
    spread = dist.log_std.exp()
    normal = torch.distributions.Normal(dist.mean, spread.expand_as(dist.mean))
    ratio = (normal.log_prob(trial.actions).sum(-1) - old).exp()
    critic = without_prefix(CRITIC, training) | critic_at
    values = actor.evaluated(expand(params, 1), expand(critic, 1), trial)[1]
    advantages, targets = torch.zeros_like(values), torch.zeros_like(values)
    for world in range(values.shape[1]):
        steps = trial.valid[0, world].nonzero()[:, 0].tolist()
        for i, t in enumerate(steps):
            for k, s in enumerate(steps[i:]):
                after = steps[i + k + 1] if i + k + 1 < len(steps) else None
                following = 0.0 if after is None else values[0, world, after].detach()
                delta = trial.rewards[0, world, s] + GAMMA * following
                delta = delta - values[0, world, s].detach()
                advantages[0, world, t] += (GAMMA * LAMBDA) ** k * delta
            targets[0, world, t] = advantages[0, world, t] + values[0, world, t].detach()
    valid = trial.valid
    chosen, known = advantages[valid], targets[valid]
    standard = (chosen - chosen.mean()) / (chosen.std() + 1e-8)
    goal = (known - known.mean()) / known.var(unbiased=False).sqrt()
    r = ratio[valid]
    inside = (r > 1 - CLIP) & (r < 1 + CLIP)
    assert 3 < inside.sum() < len(r) - 3
    gain = torch.minimum(r * standard, r.clamp(1 - CLIP, 1 + CLIP) * standard).mean()
    policy_loss, value_loss = -gain, (values[valid] - goal).square().mean()
    policy = torch.autograd.grad(policy_loss, list(at.values()))
    value = torch.autograd.grad(value_loss, list(critic_at.values()))
    return (
        dict(zip(at, policy, strict=True)),
        dict(zip(critic_at, value, strict=True)),
        float(value_loss.detach()),
    )


@pytest.mark.parametrize("knowledge", CRITICS)
def test_a_minibatch_follows_the_gradients_of_both_losses(knowledge):
    """Adam's first moment is a tenth of the gradient."""
    policy, critic, loss = worked(knowledge)
    _, training, metrics = updated(knowledge)
    for adam, gradient in ((POLICY_ADAM, policy), (CRITIC_ADAM, critic)):
        first = without_prefix(f"{adam}adam.first.", training)
        assert first.keys() == gradient.keys()
        for name, value in gradient.items():
            assert value.abs().max() > 1e-8, name
            torch.testing.assert_close(first[name], 0.1 * value, rtol=1e-5, atol=1e-9, msg=name)
    assert metrics["train/value_loss"] == pytest.approx(loss)


def test_a_long_gradient_is_cut():
    policy, *_ = worked("task")
    _, training, metrics = updated("task", max_grad_norm=1e-3)
    norm = torch.cat([value.reshape(-1) for value in policy.values()]).norm()
    assert metrics["train/grad_norm"] == pytest.approx(float(norm))
    first = without_prefix(f"{POLICY_ADAM}adam.first.", training)
    length = torch.cat([value.reshape(-1) for value in first.values()]).norm()
    assert float(length) == pytest.approx(1e-4, rel=1e-2)


@pytest.mark.parametrize("knowledge", CRITICS)
def test_no_gradient_passes_between_policy_and_critic(knowledge):
    actor, params, training, trial, _ = problem(knowledge)
    at = leaves(learned(params))
    critic_at = leaves(learned_of(without_prefix(CRITIC, training)))
    dist, values, _ = actor.evaluated(
        expand(params | at, 1), expand(without_prefix(CRITIC, training) | critic_at, 1), trial
    )

    def reached(output, inputs):
        found = torch.autograd.grad(
            output.sum(), list(inputs.values()), retain_graph=True, allow_unused=True
        )
        return {n for n, g in zip(inputs, found, strict=True) if g is not None and g.any()}

    assert reached(values, critic_at) == set(critic_at)
    assert reached(values, at) == set()
    assert reached(dist.mean, critic_at) == set()
    assert reached(dist.mean, at) == set(at) - {"log_std"}


def test_the_critic_alone_learns_while_the_policy_stays():
    _, params, *_ = problem("task")
    after, *_ = updated("task", epochs=2)
    assert any(not torch.equal(after[name], value) for name, value in params.items())
    actor, params, training, trial, _ = problem("task")
    kept, trained, metrics = ppo_update(
        actor,
        params,
        training,
        trial,
        PpoSettings(),
        Generator().manual_seed(0),
        discount=GAMMA,
        gae_lambda=LAMBDA,
        policy_moves=False,
    )
    assert all(torch.equal(kept[name], value) for name, value in params.items())
    assert metrics["train/approx_kl"] == 0 and "train/grad_norm" not in metrics
    moved = {name for name, value in training.items() if not torch.equal(trained[name], value)}
    assert moved >= {name for name in training if name.startswith(CRITIC)}


def test_a_policy_without_a_memory_learns_from_single_steps_as_from_whole_trials():
    """One minibatch of all valid steps has the gradient of the mean over them."""
    policy = privileged_policy(normalize_observations=True)
    actor = Actor(policy, Critic(O, features=F, hidden_sizes=(7,)))
    params = double(policy.init(Generator().manual_seed(1)))
    training = actor.init_training(params, Generator().manual_seed(2))
    training = {n: v.double() if v.is_floating_point() else v for n, v in training.items()}
    trial = some_trial()
    trial = dataclasses.replace(trial, start={TASK_FEATURES: trial.features[:, :, 0]})
    at = leaves(learned(params))
    dist = policy.distribution(expand(params | at, 1), trial)
    normal = torch.distributions.Normal(dist.mean, dist.log_std.exp().expand_as(dist.mean))
    trial.log_probs.copy_(normal.log_prob(trial.actions).sum(-1).detach())
    settings = PpoSettings(epochs=1, minibatches=1, max_grad_norm=1e3)
    _, after, metrics = ppo_update(
        actor,
        params,
        training,
        trial,
        settings,
        Generator().manual_seed(0),
        discount=GAMMA,
        gae_lambda=LAMBDA,
    )
    # At ratio 1 the gradient is that of the likelihood, weighted by the standardised advantage.
    first = without_prefix(f"{POLICY_ADAM}adam.first.", after)
    with torch.no_grad():
        values = actor.evaluated(
            expand(params, 1), expand(without_prefix(CRITIC, training), 1), trial
        )[1]
    advantages = torch.zeros_like(values)
    for world in range(values.shape[1]):
        steps = trial.valid[0, world].nonzero()[:, 0].tolist()
        running, following = 0.0, 0.0
        for t in reversed(steps):
            delta = trial.rewards[0, world, t] + GAMMA * following - values[0, world, t]
            running = delta + GAMMA * LAMBDA * running
            following, advantages[0, world, t] = values[0, world, t], running
    chosen = advantages[trial.valid]
    weight = (chosen - chosen.mean()) / (chosen.std() + 1e-8)
    log_prob = normal.log_prob(trial.actions).sum(-1)[trial.valid]
    gradient = torch.autograd.grad(-(weight * log_prob).mean(), list(at.values()))
    for name, value in zip(at, gradient, strict=True):
        torch.testing.assert_close(first[name], 0.1 * value, rtol=1e-5, atol=1e-9, msg=name)
    assert metrics["train/grad_norm"] > 0


def test_minibatches_cover_everything_once_per_epoch_in_another_order():
    parts = shuffled(10, 3, 2, Generator().manual_seed(0), CPU)
    assert [len(part) for part in parts] == [4, 4, 2, 4, 4, 2]
    epochs = [torch.cat(parts[:3]).tolist(), torch.cat(parts[3:]).tolist()]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1] != list(range(10))
    assert [len(part) for part in shuffled(2, 5, 1, Generator(), CPU)] == [1, 1]


def test_rates_follow_half_a_cosine():
    assert [paced(x, 0.1) for x in (0, 0.5, 1, 2)] == pytest.approx([1, 0.55, 0.1, 0.1])


def test_the_bound_on_noise_falls_geometrically_and_leaves_smaller_noise_alone():
    first = POLICY.config.init_std
    assert largest_std(POLICY, first / 16, 0.0) == first
    assert largest_std(POLICY, first / 16, 0.5) == pytest.approx(first / 4)
    assert largest_std(POLICY, first / 16, 1.0) == pytest.approx(first / 16)
    assert largest_std(POLICY, 10 * first, 1.0) == first
    noise = torch.tensor([0.1, 0.5]).log()
    quiet = POLICY.quieter({"log_std": noise, "weight_0": torch.ones(1)}, 0.2)
    torch.testing.assert_close(quiet["log_std"].exp(), torch.tensor([0.1, 0.2]))
    assert quiet["weight_0"] == 1
