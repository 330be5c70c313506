"""The learner on the Warp engine: the same code, and limits that were too low are told."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import warnings
from pathlib import Path

import pytest
import torch
from support.recorded_operations import differing, every_time, operations
from torch import Generator

from metarl.deploy import adapt_to_task
from metarl.evaluation.evaluate import evaluate
from metarl.methods.config import TrainConfig
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.runs.checkpoint import create_run, load_checkpoint, load_policy
from metarl.training import trainer
from metarl_envs import BatchEnv, get_family

os.environ.setdefault("WARP_CACHE_PATH", str(Path(__file__).parents[3] / ".warp_cache"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("mujoco_warp") is None,
        reason="mujoco-warp is not installed: pip install '.[gpu]'",
    ),
]
CONFIG = TrainConfig(
    family="half-cheetah-dynamics",
    method="maml-trpo",
    horizon=6,
    iterations=2,
    meta_batch_size=4,
    episodes_per_task=4,
    device="cpu",
    engine="warp",
    checkpoint_every=1,
    policy=MlpConfig(hidden_sizes=(8,), normalize_observations=True),
)


def train(folder, config=CONFIG):
    create_run(folder, config, ["test"])
    return trainer.train(config, trainer.initial_state(config), folder, quiet=True)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_two_iterations_learn_save_resume_evaluate_and_adapt(tmp_path, device):
    config = dataclasses.replace(CONFIG, device=device)
    whole = train(tmp_path / "whole", config)
    lines = [
        json.loads(line) for line in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()
    ]
    assert [line["rollout/env_steps"] for line in lines] == [192, 384]
    assert all(line["health/fault_share"] == 0 for line in lines)
    assert all(line["train/step_norm"] > 0 for line in lines if "train/step_norm" in line)
    fresh = trainer.initial_state(config)
    assert any(not torch.equal(whole.params[n], fresh.params[n]) for n in fresh.params)
    assert all(value.device.type == "cpu" for value in whole.params.values())
    if device == "cpu":  # a GPU sums in any order
        _, half = load_checkpoint(tmp_path / "whole", 1)
        create_run(tmp_path / "half", config, ["test"])
        resumed = trainer.train(config, half, tmp_path / "half", quiet=True)
        assert all(torch.equal(whole.params[n], resumed.params[n]) for n in whole.params)
    saved = load_policy(tmp_path / "whole")
    assert saved.config.engine == "warp"
    where = torch.device(device)
    evaluation = evaluate(
        saved, splits=["test"], num_tasks=4, episodes_per_step=4, engine="warp", device=where
    )
    assert evaluation.splits[0].faulted_episodes == 0
    task = get_family(config.family).nominal_tasks()
    adapted = adapt_to_task(saved, task, episodes=16, engine="warp", device=where)
    assert adapted.faulted_episodes == 0


def test_rollouts_are_those_of_the_cpu_engine_while_single_precision_lasts():
    family = get_family("half-cheetah-dynamics")
    policy = GaussianMlpPolicy.for_family(family, CONFIG.policy)
    params = expand(policy.init(Generator().manual_seed(0)), 4)
    tasks = family.sample_tasks(4, Generator().manual_seed(1), "train")
    seen = []
    for engine in ("cpu", "warp"):
        env = BatchEnv(family, 4, 4, horizon=2, engine=engine)
        env.set_tasks(tasks)
        # Both start where the model does: reset noise is another number in another precision.
        still = dataclasses.replace(family.robot, reset_state=at_rest)
        env.family = dataclasses.replace(family, robot=still)
        streams = (Generator().manual_seed(seed) for seed in (2, 3))
        seen.append(Collector(env, policy).collect(params, *streams))
    cpu, warp = seen
    assert torch.equal(cpu.valid, warp.valid)
    assert torch.allclose(cpu.observations, warp.observations, atol=1e-4)
    assert torch.allclose(cpu.rewards, warp.rewards, atol=1e-3)
    assert torch.allclose(cpu.log_probs, warp.log_probs, atol=1e-6)


def at_rest(qpos, qvel, num_worlds, generator):
    del generator
    return qpos.expand(num_worlds, -1).clone(), qvel.expand(num_worlds, -1).clone()


def test_a_limit_that_was_too_low_is_a_warning_that_names_it_and_a_fault():
    family = get_family("half-cheetah-dynamics")
    small = dataclasses.replace(family.robot, max_contacts=1, max_constraints=2)
    env = BatchEnv(dataclasses.replace(family, robot=small), 4, 4, horizon=6, engine="warp")
    policy = GaussianMlpPolicy.for_family(family, CONFIG.policy)
    params = expand(policy.init(Generator().manual_seed(0)), 4)
    streams = (Generator().manual_seed(seed) for seed in (2, 3))
    with pytest.warns(UserWarning, match="half-cheetah: .*max_constraints = 2 was too low"):
        rollouts = Collector(env, policy).collect(params, *streams)
    assert rollouts.diverged.any()
    assert torch.isfinite(rollouts.rewards).all()


@pytest.mark.parametrize("name", ["half-cheetah-dynamics", "hopper-dynamics"])
def test_captured_steps_give_the_rollouts_of_steps_one_by_one(name):
    """With worlds that end early, and worlds that diverge because their policy is not finite."""
    family = get_family(name)
    policy = GaussianMlpPolicy.for_family(family, CONFIG.policy)
    found = []
    for capture in (None, operations):
        env = BatchEnv(family, 4, 4, horizon=20, engine="warp")
        collector = Collector(env, policy, capture)
        for seed in range(2):  # the second time with all but the recording being new
            streams = [Generator().manual_seed(10 * seed + purpose) for purpose in range(4)]
            env.set_tasks(family.sample_tasks(4, streams[0], "train"))
            params = {n: v.clone() for n, v in expand(policy.init(streams[1]), 4).items()}
            params["log_std"] += 2.0  # strong enough to fall
            params["bias_0"][seed, 0] = torch.nan
            found.append(collector.collect(params, *streams[2:]))
    for seed in range(2):
        one, other = found[seed], found[2 + seed]
        assert one.diverged.tolist() == [[task == seed] * 4 for task in range(4)]
        assert one.terminated.any() == (name == "hopper-dynamics")
        assert not differing(one, other)


@pytest.mark.gpu
def test_graphs_give_the_rollouts_of_queued_operations():
    family, device = get_family("half-cheetah-dynamics"), torch.device("cuda")
    policy = GaussianMlpPolicy.for_family(family, CONFIG.policy)
    params = expand({n: v.to(device) for n, v in policy.init(Generator()).items()}, 4)
    found = []
    for capture in (None, every_time):
        env = BatchEnv(family, 4, 4, horizon=5, engine="warp", device=device)
        collector = Collector(env, policy, capture)
        for seed in range(2):
            env.set_tasks(family.sample_tasks(4, Generator().manual_seed(seed), "train"))
            streams = [Generator().manual_seed(10 * seed + purpose) for purpose in range(2)]
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # that nothing could be recorded
                found.append(collector.collect(params, *streams))
    for one, other in zip(found[:2], found[2:], strict=True):
        assert torch.equal(one.valid, other.valid)
        assert torch.allclose(one.observations, other.observations, atol=1e-3)
        assert torch.allclose(one.rewards, other.rewards, atol=1e-2)
        assert torch.equal(one.log_probs, other.log_probs)


@pytest.mark.gpu
def test_nothing_waits_for_the_gpu_inside_an_episode(monkeypatch):
    family, device = get_family("ant-crippled"), torch.device("cuda")
    env = BatchEnv(family, 4, 4, horizon=20, engine="warp", device=device)
    policy = GaussianMlpPolicy.for_family(family, CONFIG.policy)
    params = expand({n: v.to(device) for n, v in policy.init(Generator()).items()}, 4)
    streams = [Generator().manual_seed(seed) for seed in (2, 3)]
    collector = Collector(env, policy)
    collector.collect(params, *streams)  # captures the graphs
    monkeypatch.setattr(env.engine, "overflow_message", lambda: "")  # asked after the last step
    torch.cuda.set_sync_debug_mode("error")
    try:
        rollouts = collector.collect(params, *streams)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert rollouts.observations.device.type == "cuda"
    assert rollouts.valid.any()
