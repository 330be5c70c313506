"""An environment that shares nothing with ours, through the members of `TaskEnv` alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from support.recorded_operations import differing, operations
from torch import Generator

from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.inner_loop import InnerLoopConfig, run_inner_loop
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector

M, E, T = 3, 4, 6
POLICY = GaussianMlpPolicy(MlpConfig(hidden_sizes=(4,), action_scale=1.0), 1, (-1.0,), (1.0,))


@dataclass
class Told:
    observations: torch.Tensor
    rewards: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    diverged: torch.Tensor
    quantity: torch.Tensor


class Carts:
    """Carts on a line, each to be pushed to its task's place; far away they derail."""

    num_tasks, episodes_per_task, horizon = M, E, T
    measures_success = False
    device = torch.device("cpu")

    def __init__(self):
        self.x, self.t = torch.zeros(M * E), torch.zeros(M * E)
        self.push, self.goals = torch.zeros(M * E), torch.zeros(M * E)

    def set_tasks(self, goals):
        self.goals.copy_(goals.repeat_interleave(E))

    def reset(self, generator):
        self.x.copy_(0.1 * torch.randn(M * E, generator=generator))
        self.t.zero_()
        return self.x.clone().unsqueeze(1)

    def step(self, actions, mask=None):
        kept = self.x.clone(), self.t.clone()
        self.begin_step(actions)
        self.simulate()
        if mask is not None:
            for now, before in zip((self.x, self.t), kept, strict=True):
                now.copy_(torch.where(mask, now, before))
        return self.end_step()

    def begin_step(self, actions):
        self.push.copy_(actions.squeeze(1))

    def simulate(self):
        self.x += 0.3 * self.push
        self.t += 1

    def end_step(self):
        distance = (self.x - self.goals).abs()
        return Told(
            observations=self.x.clone().unsqueeze(1),
            rewards=-distance,
            terminated=self.x.abs() > 0.8,
            truncated=self.t >= T,
            diverged=torch.zeros_like(self.x, dtype=torch.bool),
            quantity=distance,
        )

    def overflow_message(self):
        return ""


def collector(capture=None):
    env = Carts()
    env.set_tasks(torch.tensor([-0.5, 0.0, 0.5]))
    return Collector(env, POLICY, capture)


def start():
    return expand(POLICY.init(Generator().manual_seed(0)), M)


def streams():
    return Generator().manual_seed(1), Generator().manual_seed(2)


def test_a_collection_tells_what_happened_there():
    rollouts = collector().collect(start(), *streams())
    assert not rollouts.valid.all() and rollouts.terminated.any()
    goals = torch.tensor([-0.5, 0.0, 0.5]).view(M, 1, 1)
    moved = torch.cat([rollouts.observations[..., 0], rollouts.final_observations], dim=2)
    pushed = moved[..., :-1] + 0.3 * rollouts.actions[..., 0].clamp(-1, 1)
    valid = rollouts.valid
    torch.testing.assert_close(moved[..., 1:][valid], pushed[valid], rtol=0, atol=1e-6)
    torch.testing.assert_close(
        rollouts.rewards[valid], -(pushed - goals).abs()[valid], rtol=0, atol=1e-6
    )
    expected = -rollouts.rewards.sum(-1) / valid.sum(-1)
    torch.testing.assert_close(rollouts.quantity, expected)


def test_its_steps_can_be_captured():
    one, other = (collector(how).collect(start(), *streams()) for how in (None, operations))
    assert not differing(one, other)


def test_policies_adapt_to_its_tasks():
    how = InnerLoopConfig(GradientStep(inner_lr=0.5), "log_prob", 0.99, 1.0)
    resets, actions = streams()
    collect = partial(collector().collect, resets=resets, actions=actions)
    inner = run_inner_loop(POLICY, how, start(), 6, collect)
    first, *_, last = (rollouts.rewards[rollouts.valid].mean() for rollouts in inner.rollouts)
    assert not inner.failed.any()
    assert float(last) > float(first) + 0.05


@pytest.mark.parametrize("threads", [1, 2])
def test_torch_has_one_thread_while_it_collects_and_as_many_as_before_after_it(threads):
    seen, found = [], collector()
    step, before = found.env.step, torch.get_num_threads()
    found.env.step = lambda *args: seen.append(torch.get_num_threads()) or step(*args)
    torch.set_num_threads(threads)
    try:
        found.collect(start(), *streams())
        assert set(seen) == {1}
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
