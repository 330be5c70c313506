"""Requirements on a GPU, checked on a pretended one; and faults, which the checks must find."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from pretended_device import GPU, NOTES, of_kind
from pretended_training import NETWORK, small, verify_training
from pretended_worlds import noted_twice
from torch import Generator

from metarl.deploy import adapt_to_task
from metarl.evaluation.evaluate import evaluate
from metarl.methods.config import with_settings
from metarl.methods.setup import family_of
from metarl.outer import clipped_steps, meta_gradient, minibatches, trpo
from metarl.outer.trpo import Trpo
from metarl.policies.base import Policy
from metarl.policies.context import ContextConfig
from metarl.policies.encoders import ENCODERS
from metarl.policies.frame_stack import FrameStackConfig
from metarl.policies.memory import MemoryConfig
from metarl.policies.params import expand, to
from metarl.policies.planning import PlanningConfig
from metarl.policies.set_encoders import SET_ENCODERS
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import BELIEFS
from metarl.runs.checkpoint import create_run, load_checkpoint, load_policy
from metarl.training import trainer
from metarl_envs import FAMILIES, BatchEnv, get_family, vary

# ---- captured steps ------------------------------------------------------------------------------


def perturbed(family):
    """With late actions, noisy and biased observations, and the task told."""
    robot = family.robot
    return dataclasses.replace(
        family,
        observes_task=True,
        parameters=(
            *family.parameters,
            vary.action_delay(2),
            vary.observation_noise(robot, (0.0, 0.1)),
            vary.observation_bias(robot, (-0.1, 0.1), entries=[1]),
        ),
    )


def verify_step(family, network=NETWORK, policies=4):
    """Both parts of a time step note nothing; a whole collection waits for one message."""
    policy = Policy.for_family(family, network)
    params = to(expand(policy.init(Generator().manual_seed(0)), policies), GPU)
    env = BatchEnv(family, 4, 3, horizon=5, engine="warp", device=GPU)
    env.set_tasks(family.sample_tasks(4, Generator().manual_seed(1), "train"))
    streams, parts = [Generator().manual_seed(seed) for seed in (2, 3)], []
    collector = Collector(env, policy, noted_twice(parts))
    collector.collect(params, *streams)
    assert len(parts) == 2
    for part in parts:
        assert not part, dict(part)
    NOTES.clear()
    found = collector.collect(params, *streams)
    assert len(parts) == 2
    for field in dataclasses.fields(found):
        value = getattr(found, field.name)
        if field.name in BELIEFS:
            continue
        assert value.device.type == "gpu", field.name
        assert torch.isfinite(value.cpu()).all(), field.name
    assert not of_kind("mixed", NOTES)
    waits = {n.place for n in NOTES if n.kind == "wait"}
    assert waits <= {"warp.py:WarpEngine.overflow_message"}, dict(NOTES)


@pytest.mark.parametrize("name", FAMILIES)
def check_a_step_of_every_family(name):
    verify_step(get_family(name))


@pytest.mark.parametrize("name", ["navigation", "ant-crippled"])
def check_a_step_with_perturbations(name):
    verify_step(perturbed(get_family(name)))


REMEMBERING = {
    **{name: MemoryConfig(encoder=name, memory_size=8, memory_length=12) for name in ENCODERS},
    **{f"context, {name}": ContextConfig(encoder=name) for name in SET_ENCODERS},
    "frame stack": FrameStackConfig(),
    **{
        f"planning, {adapts}": PlanningConfig(
            adapts=adapts, planner=planner, hidden_sizes=(8,), candidates=8, rounds=2, plan_steps=3
        )
        for adapts, planner in (("gradient", "icem"), ("recurrent", "mppi"), ("nothing", "icem"))
    },
}


@pytest.mark.parametrize("network", REMEMBERING.values(), ids=REMEMBERING)
def check_a_step_of_every_policy_with_a_belief(network):
    verify_step(get_family("half-cheetah-velocity"), network, policies=1)


# One whose body's angle comes round, and one that floats.
@pytest.mark.parametrize("name", ["half-cheetah-crippled", "ant-crippled"])
def check_a_step_that_is_imagined_by_the_familys_rule(name):
    network = PlanningConfig(hidden_sizes=(8,), candidates=8, rounds=2, plan_steps=3)
    verify_step(get_family(name), network, policies=1)


def rewarded(reward):
    return dataclasses.replace(get_family("half-cheetah-velocity"), reward=reward)


FAULTY_FAMILIES = {
    "flag on the host": (
        "mixed",
        dataclasses.replace(
            get_family("half-cheetah-velocity"),
            terminated=lambda t: torch.zeros(len(t.action), dtype=torch.bool),
        ),
    ),
    "list as index": ("copy", rewarded(lambda t: t.after["qpos"][:, [0, 1]].sum(1))),
    "constant on the host": (
        "mixed",
        rewarded(lambda t: (t.after["qpos"][:, :2] * torch.tensor([1.0, 0.0])).sum(1)),
    ),
    "constant copied to the GPU": (
        "copy",
        rewarded(lambda t: (t.after["qpos"][:, :2] * torch.tensor([1.0, 0.0], device=GPU)).sum(1)),
    ),
    "value asked for": (
        "wait",
        rewarded(lambda t: t.after["qpos"][:, 0] * float(t.after["qpos"].max())),
    ),
    "mask as index": (
        "wait",
        rewarded(lambda t: t.after["qpos"][:, 0] + t.action[t.action > 0].sum()),
    ),
    "numpy": (
        "copy",
        rewarded(
            lambda t: torch.as_tensor(t.after["qpos"][:, 0].cpu().numpy()).to(t.action.device)
        ),
    ),
}


@pytest.mark.parametrize(("kind", "family"), FAULTY_FAMILIES.values(), ids=FAULTY_FAMILIES)
def check_that_a_faulty_family_is_found(kind, family):
    with pytest.raises(AssertionError, match=f"kind='{kind}'"):
        verify_step(family)


# ---- training ------------------------------------------------------------------------------------

COUNTS = {
    "maml-trpo": (14, 4000),
    "meta-sgd": (15, 8200),
    "promp": (15, 3200),
    "maml++": (16, 13100),
    "cavia": (15, 6500),
}
"""Largest numbers of values that an update asks for, and of operations that it runs.

It asks for one decision (a try of the line search, of which there is one here; whether PPO's last
step led too far), the valid observations of each collection, and the numbers that it logs."""


def limited(method, iterations=2):
    """One try of the line search: how many there are depends on values."""
    config = small(method, iterations)
    if isinstance(config.outer, Trpo):
        config = with_settings(config, {"outer.max_backtracks": 1})
    return config


def verify_method(method, iterations, folder, monkeypatch):
    waits, kernels = COUNTS[method]
    config = limited(method, iterations)
    verify_training(config, folder, monkeypatch, waits=waits, kernels=kernels)


@pytest.mark.parametrize("method", COUNTS)
def check_training_of_a_method(method, tmp_path, monkeypatch):
    verify_method(method, 2, tmp_path / "run", monkeypatch)


def check_resuming_evaluation_and_adaptation(tmp_path, monkeypatch):
    run, config = tmp_path / "run", limited("maml-trpo")
    create_run(run, config, ["test"])
    once = dataclasses.replace(config, iterations=1)
    trainer.train(once, trainer.initial_state(config), run, quiet=True)
    state = trainer.train(config, load_checkpoint(run)[1], run, quiet=True)
    assert (state.iteration, state.refused) == (2, 0)
    saved = load_policy(run)
    sizes = {"num_tasks": 4, "episodes_per_step": 4, "steps": 2, "budgets": (2,)}
    evaluation = evaluate(saved, splits=["test"], **sizes, engine="warp", device=GPU)
    assert torch.isfinite(torch.as_tensor(evaluation.splits[0].returns)).all()
    task = family_of(saved.config).nominal_tasks()
    adapted = adapt_to_task(saved, task, episodes=4, engine="warp", device=GPU)
    assert {value.device.type for value in adapted.params.values()} == {"cpu"}
    assert not of_kind("mixed", NOTES), of_kind("mixed", NOTES)


def asking_in_every_product(monkeypatch):
    healthy = trpo.conjugate_gradient

    def faulty(product, *arguments):
        def asking(vector):
            assert bool(torch.isfinite(vector).all())
            return product(vector)

        return healthy(asking, *arguments)

    monkeypatch.setattr(trpo, "conjugate_gradient", faulty)


def asking_for_the_number_of_steps(monkeypatch):
    healthy = clipped_steps.adam_step

    def faulty(params, gradient, state, *rates):
        float(state["adam.count"])
        return healthy(params, gradient, state, *rates)

    monkeypatch.setattr(clipped_steps, "adam_step", faulty)


def asking_for_every_divergence(monkeypatch):
    healthy = clipped_steps.leads_too_far

    def faulty(kl, *arguments):
        kl.item()
        return healthy(kl, *arguments)

    monkeypatch.setattr(clipped_steps, "leads_too_far", faulty)


def with_advantages_on_the_host(monkeypatch):
    for module in (trpo, minibatches):
        healthy = module.surrogate

        def faulty(dist, batch, *clip, healthy=healthy):
            return healthy(dist, batch, *clip) * torch.ones(4)

        monkeypatch.setattr(module, "surrogate", faulty)


def leaving_the_state_on_the_gpu(monkeypatch):
    monkeypatch.setattr(meta_gradient, "CPU", GPU)
    monkeypatch.setattr(trainer, "save_checkpoint", lambda run, config, state: run)


@pytest.mark.parametrize(
    ("method", "fault", "found"),
    [
        ("maml-trpo", asking_in_every_product, "conjugate_gradient': 10"),
        ("maml-trpo", with_advantages_on_the_host, "mul in trpo.py:evaluate"),
        ("promp", asking_for_the_number_of_steps, "bounded_steps': 14"),
        ("promp", asking_for_every_divergence, "bounded_steps': 15"),
        ("promp", with_advantages_on_the_host, "mul in minibatches.py:AdaptedPolicies.surrogate"),
        ("cavia", leaving_the_state_on_the_gpu, "weight_0 in gpu"),
    ],
)
def check_that_a_faulty_update_is_found(method, fault, found, tmp_path, monkeypatch):
    fault(monkeypatch)
    with pytest.raises(AssertionError, match=found):
        verify_method(method, 1, tmp_path / "run", monkeypatch)
