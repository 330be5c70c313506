"""Families on the Warp engine: single precision from end to end, tasks as on the CPU engine."""

from __future__ import annotations

import pytest
import torch
from support.warp_worlds import needs_warp
from torch import Generator

from metarl_envs import BatchEnv, get_family

pytestmark = [needs_warp, pytest.mark.slow]

FAMILIES = [
    "half-cheetah-dynamics",
    "ant-goal",
    "ant-crippled",
    "hopper-dynamics",
    "walker2d-dynamics",
    "puck-slide",
    "arm-reach",
    "arm-encoder",
    "base-reversed",
    "navigate-hidden",
    "quadruped-load",
    "quadrotor-wind",
]


def env_pair(family):
    return [BatchEnv(family, 4, 4, engine=engine, horizon=3) for engine in ("cpu", "warp")]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_control_step_is_that_of_the_cpu_engine_for_sampled_tasks(name):
    family = get_family(name)
    cpu, warp = env_pair(family)
    tasks = family.sample_tasks(4, Generator().manual_seed(0), "train")
    cpu.set_tasks(tasks)
    warp.set_tasks(tasks)
    cpu.reset(Generator().manual_seed(1))
    start = [cpu.engine.data[n].float() for n in ("qpos", "qvel")]
    for env in (cpu, warp):
        env.engine.reset(None, *(value.to(env.engine.dtype) for value in start))
    span = cpu.action_high - cpu.action_low
    draws = torch.rand((2, 16, len(span)), generator=Generator().manual_seed(2))
    for draw in draws:
        actions = (cpu.action_low + span * draw).float()
        expected, found = cpu.step(actions.double()), warp.step(actions)
        assert found.observations.dtype == found.rewards.dtype == torch.float32
        assert torch.allclose(found.observations.double(), expected.observations, atol=2e-3)
        assert torch.allclose(found.rewards.double(), expected.rewards, atol=1e-3)
        assert torch.equal(found.terminated, expected.terminated)
        assert torch.equal(found.truncated, expected.truncated)
        assert not found.diverged.any()
        quantity = family.robot.quantities[family.quantity]
        assert torch.allclose(
            quantity(found.transition).double(), quantity(expected.transition), atol=1e-3
        )


def test_resets_draw_their_noise_in_single_precision_and_only_where_asked():
    env = BatchEnv(get_family("half-cheetah-direction"), 4, 4, engine="warp")
    first = env.reset(Generator().manual_seed(3))
    assert first.dtype == torch.float32
    assert torch.equal(first, env.reset(Generator().manual_seed(3)))
    assert first.std(dim=0).min() > 0.01
    mask = torch.arange(16) < 5
    again = env.reset(Generator().manual_seed(4), mask)
    assert torch.equal(again[~mask], first[~mask])
    assert (again[mask] != first[mask]).any(dim=1).all()
