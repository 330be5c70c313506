"""The inner loop: fresh rollouts after each step, and safe when one task's step is not finite."""

from __future__ import annotations

import pytest
import torch

from metarl import inner_loop
from metarl.adaptation.gradient import GradientAdaptationConfig, adapt
from metarl.inner_loop import keep_finite, run_inner_loop
from metarl.params import expand
from metarl.policies import GaussianMlpPolicy, PolicyConfig
from metarl_envs import BatchEnv, get_family

CONFIG = GradientAdaptationConfig(inner_lr_decay=0.5)
CPU = torch.device("cpu")


def generator(seed):
    return torch.Generator().manual_seed(seed)


def run(num_steps=2):
    family = get_family("navigation")
    policy = GaussianMlpPolicy.for_family(family, PolicyConfig(action_scale=1.0))
    params = policy.init(generator(0))
    env = BatchEnv(family, 3, 4, horizon=8)
    env.set_tasks(family.sample_tasks(3, generator(1), "train"))
    inner = run_inner_loop(env, policy, params, CONFIG, num_steps, generator(2), generator(3), CPU)
    return policy, params, inner


def test_adapted_parameters_are_those_of_adapt_on_the_same_batches():
    policy, params, inner = run()
    with torch.no_grad():
        expected = adapt(policy, expand(params, 3), inner.batches[:2], CONFIG)
    for name, value in inner.adapted.items():
        assert torch.equal(value, expected[name])
    assert not inner.failed.any()


def test_every_step_has_rollouts_of_its_own():
    _, _, inner = run()
    assert len(inner.rollouts) == len(inner.batches) == 3
    first, second, third = (rollouts.actions for rollouts in inner.rollouts)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_task_whose_step_is_not_finite_keeps_its_parameters(monkeypatch, value):
    healthy = inner_loop.gradient_step

    def poisoned(*args):
        stepped = healthy(*args)
        stepped["bias_0"] = stepped["bias_0"].clone()
        stepped["bias_0"][1, 0] = value
        return stepped

    _, params, sound = run(num_steps=1)
    monkeypatch.setattr(inner_loop, "gradient_step", poisoned)
    _, _, inner = run(num_steps=1)
    assert inner.failed.tolist() == [False, True, False]
    for name, adapted in inner.adapted.items():
        assert torch.equal(adapted[1], params[name])
        assert torch.equal(adapted[0], sound.adapted[name][0])
        assert torch.equal(adapted[2], sound.adapted[name][2])
    assert not inner.rollouts[-1].faulted.any()


def test_keep_finite_by_hand():
    before = {"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "b": torch.tensor([5.0, 6.0])}
    after = {"a": torch.tensor([[7.0, 8.0], [9.0, 9.0]]), "b": torch.tensor([0.0, torch.nan])}
    kept, broken = keep_finite(before, after)
    assert kept["a"].tolist() == [[7.0, 8.0], [3.0, 4.0]]
    assert kept["b"].tolist() == [0.0, 6.0]
    assert broken.tolist() == [False, True]
