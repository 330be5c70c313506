"""The inner loop: fresh rollouts after each step, and safe when one task's step is not finite."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from support.helpers import Momentum

from metarl.adaptation.base import Adaptation, adapt
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.inner_loop import InnerLoopConfig, keep_finite, run_inner_loop
from metarl.adaptation.losses import inner_batches
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import expand
from metarl.rollouts.advantages import policy_batch
from metarl.rollouts.collect import Collector
from metarl_envs import BatchEnv, get_family

CONFIG = InnerLoopConfig(
    GradientStep(inner_lr_decay=0.5), "log_prob", discount=0.99, gae_lambda=1.0
)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def run(num_steps=2, config=CONFIG, spread=0.0):
    """Three tasks, whose starting points differ where `spread` is not 0."""
    family = get_family("navigation")
    policy = GaussianMlpPolicy.for_family(family, MlpConfig(action_scale=1.0))
    start = {
        name: value + spread * torch.arange(3.0).view(-1, *[1] * (value.dim() - 1))
        for name, value in expand(policy.init(generator(0)), 3).items()
    }
    env = BatchEnv(family, 3, 4, horizon=8)
    env.set_tasks(family.sample_tasks(3, generator(1), "train"))
    collected = partial(Collector(env, policy).collect, resets=generator(2), actions=generator(3))
    inner = run_inner_loop(policy, config, start, num_steps, collected)
    return policy, start, inner


@pytest.mark.parametrize("form", ["log_prob", "ratio"])
@pytest.mark.parametrize("adaptation", [CONFIG.adaptation, Momentum()])
def test_adapted_parameters_are_those_of_adapt_on_the_same_batches(adaptation, form):
    config = replace(CONFIG, adaptation=adaptation, inner_loss=form)
    policy, start, inner = run(config=config, spread=0.01)
    steps = inner_batches(policy, inner.batches[:2], form)
    with torch.no_grad():
        expected = adapt(adaptation, start, steps)
    assert inner.adapted.keys() == expected.keys()  # no memory of the task
    for name, value in inner.adapted.items():
        assert torch.equal(value, expected[name])
    assert not inner.failed.any()


def test_the_policies_are_those_that_collected():
    policy, start, inner = run(spread=0.01)
    assert len(inner.policies) == 3
    for name, value in inner.policies[0].items():
        assert torch.equal(value, start[name])
    for params, batch in zip(inner.policies, inner.batches, strict=True):
        dist = policy.distribution(params, batch.rollouts)
        z = (batch.rollouts.actions - dist.mean) / dist.log_std.exp()
        log_probs = torch.distributions.Normal(0.0, 1.0).log_prob(z) - dist.log_std
        valid = batch.weights > 0
        torch.testing.assert_close(log_probs.sum(-1)[valid], batch.rollouts.log_probs[valid])


def test_every_step_has_rollouts_of_its_own():
    _, _, inner = run()
    assert len(inner.rollouts) == len(inner.batches) == 3
    first, second, third = (rollouts.actions for rollouts in inner.rollouts)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_discount_and_lambda_reach_the_advantages():
    _, _, inner = run(config=replace(CONFIG, discount=0.5, gae_lambda=0.3))
    expected = policy_batch(inner.rollouts[0], discount=0.5, gae_lambda=0.3).advantages
    assert torch.equal(inner.batches[0].advantages, expected)
    other = policy_batch(inner.rollouts[0], discount=0.99, gae_lambda=1.0).advantages
    assert not torch.equal(other, expected)


@dataclass(frozen=True)
class Poisoned(Momentum):
    """A step of which one entry of task 1 is not finite."""

    infinite: bool = False
    entry: str = "bias_0"

    def step(self, params, batch, k):
        stepped = super().step(params, batch, k)
        stepped[self.entry][1, 0] = torch.inf if self.infinite else torch.nan
        return stepped


@pytest.mark.parametrize("entry", ["bias_0", "task.bias_0"])
@pytest.mark.parametrize("infinite", [False, True])
def test_a_task_whose_step_is_not_finite_keeps_its_parameters(infinite, entry):
    _, start, sound = run(num_steps=1, config=replace(CONFIG, adaptation=Momentum()))
    _, _, inner = run(num_steps=1, config=replace(CONFIG, adaptation=Poisoned(infinite, entry)))
    assert inner.failed.tolist() == [False, True, False]
    for name, adapted in inner.adapted.items():
        assert torch.equal(adapted[1], start[name][1])
        assert torch.equal(adapted[0], sound.adapted[name][0])
        assert torch.equal(adapted[2], sound.adapted[name][2])
    assert not inner.rollouts[-1].diverged.any()


class EarlyReward(Adaptation):
    """Reads time: its bias becomes the sum of the rewards of each episode's first three steps."""

    def step(self, params, batch, k):
        early = batch.data.rollouts.rewards[:, :, :3].sum(-1)  # (M, E)
        return {**params, "bias_0": params["bias_0"] + early.mean(1, keepdim=True)}


def test_an_adaptation_may_read_episodes_step_by_step():
    _, start, inner = run(config=replace(CONFIG, adaptation=EarlyReward()))
    for k, rollouts in enumerate(inner.rollouts[:2]):
        by_hand = [
            sum(float(rollouts.rewards[m, e, t]) for e in range(4) for t in range(3)) / 4
            for m in range(3)
        ]
        moved = inner.policies[k + 1]["bias_0"] - inner.policies[k]["bias_0"]
        assert all(by_hand)
        assert moved[:, 0].tolist() == pytest.approx(by_hand, rel=1e-5)
    assert torch.equal(inner.adapted["weight_0"], start["weight_0"])


def test_keep_finite_by_hand():
    before = {"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "b": torch.tensor([5.0, 6.0])}
    after = {"a": torch.tensor([[7.0, 8.0], [9.0, 9.0]]), "b": torch.tensor([0.0, torch.nan])}
    kept, broken = keep_finite(before, after)
    assert kept["a"].tolist() == [[7.0, 8.0], [3.0, 4.0]]
    assert kept["b"].tolist() == [0.0, 6.0]
    assert broken.tolist() == [False, True]
