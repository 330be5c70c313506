"""VariBAD: which loss moves which weights, whose trials begin, and a run from the command line."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from metarl.cli import main
from metarl.methods.config import with_settings
from metarl.methods.families import recipe
from metarl.methods.setup import family_of, learner_of, training_env
from metarl.outer.elbo import negative_elbo
from metarl.outer.recent_trials import replayed
from metarl.outer.varibad import (
    BEGAN,
    VaribadLearner,
    head_of,
    latents_of,
    scales_of,
    split,
    transitions,
    with_belief,
)
from metarl.policies.gaussian import log_prob
from metarl.policies.params import expand, learned
from metarl.rollouts.collect import Collector
from metarl.runs.metrics_log import read_metrics
from metarl_envs import InputError


def tiny(**chosen):
    sizes = {"meta_batch_size": 6, "horizon": 7, "policy.memory_size": 8, "iterations": 4}
    small = {"policy.latent_size": 4, "policy.hidden_sizes": [8], "outer.minibatches": 2}
    machine = {"device": "cpu", "sim_threads": 1}
    return with_settings(recipe("navigation", "varibad"), sizes | small | machine | chosen)


class Training:
    """A few iterations of a small run."""

    def __init__(self, config):
        self.config, self.learner = config, learner_of(config)
        self.state = self.learner.init(0)
        env = training_env(config, config.meta_batch_size, config.episodes_per_task)
        self.collector = Collector(env, self.learner.policy)

    def collect(self):
        fresh = family_of(self.config).sample_tasks(
            self.config.meta_batch_size, self.state.generators.tasks, "train"
        )
        return self.learner.collect(self.collector, self.state, fresh)

    def step(self):
        update = self.learner.update(self.state, self.collect())
        self.state = dataclasses.replace(
            self.state,
            params=update.params,
            optimizer=update.optimizer,
            iteration=self.state.iteration + 1,
        )
        return update.metrics


@pytest.fixture(scope="module")
def trained():
    run = Training(tiny())
    run.step()
    return run


def differentiable(params):
    return {name: value.clone().requires_grad_() for name, value in params.items()}


def test_the_head_on_observation_and_belief_is_the_policy_that_is_deployed(trained):
    policy, params = trained.learner.policy, trained.state.params
    trial = trained.collect().trial
    whole = policy.distribution(expand(params, 1), trial)
    alone = head_of(policy).distribution(expand(params, 1), with_belief(policy, params, trial))
    assert torch.equal(whole.mean, alone.mean) and torch.equal(whole.log_std, alone.log_std)
    # As it acted, so that the first likelihood ratio is 1.
    torch.testing.assert_close(log_prob(alone, trial.actions), trial.log_probs)


def test_the_gradient_of_ppo_ends_at_the_belief(trained):
    policy, params = trained.learner.policy, differentiable(learned(trained.state.params))
    everything = trained.state.params | params
    trial = trained.collect().trial
    dist = head_of(policy).distribution(
        expand(everything, 1), with_belief(policy, everything, trial)
    )
    names = list(params)
    found = torch.autograd.grad(
        log_prob(dist, trial.actions).square().sum(), list(params.values()), allow_unused=True
    )
    head, memory = split(trained.state.params)
    assert {name for name, g in zip(names, found, strict=True) if g is not None} == set(head)
    assert all(g is None or bool(g.any()) for g in found)
    assert {"encoder.hidden", "embed", "latent"} <= set(memory)
    # Through the whole policy it would not end there.
    dist = policy.distribution(expand(everything, 1), trial)
    (reached,) = torch.autograd.grad(log_prob(dist, trial.actions).sum(), [params["embed"]])
    assert bool(reached.any())


def test_the_gradient_of_the_bound_moves_memory_and_decoders_but_not_the_head(trained):
    learner, policy = trained.learner, trained.learner.policy
    assert isinstance(learner, VaribadLearner)
    decoders = {n: v for n, v in trained.state.optimizer.items() if n.startswith("decoder.")}
    at = differentiable(learned(trained.state.params) | decoders)
    trial = trained.collect().trial
    g = torch.Generator().manual_seed(0)
    loss, _ = negative_elbo(
        learner.decoders,
        at,
        latents_of(policy, trained.state.params | at, trial)[0],
        transitions(policy, trial, scales_of(trial)),
        torch.ones(6, dtype=torch.bool),
        torch.arange(14),
        torch.arange(14),
        torch.randn(6, 14, 2, generator=g),
        0.1,
    )
    found = torch.autograd.grad(loss, list(at.values()), allow_unused=True)
    moved = {name for name, value in zip(at, found, strict=True) if value is not None}
    _, memory = split(trained.state.params)
    assert moved == set(memory) | set(decoders)
    assert all(value is None or bool(value.any()) for value in found)


def test_decoders_read_actions_as_sent_and_predict_standardised_changes(trained):
    policy, trial = trained.learner.policy, trained.collect().trial
    trial = dataclasses.replace(trial, actions=trial.actions.clone())
    trial.actions[0, 0, 0] = torch.tensor([3.0, -0.5])
    read = transitions(policy, trial, scales_of(trial))
    assert read.actions[0, 0].tolist() == [1.0, -0.5]
    # The point moves by a tenth of what is sent, and stays where an episode ends.
    moved = trial.observations[0, :, 1:7] - trial.observations[0, :, :6]
    scales = scales_of(trial)
    mean, std = scales.change
    wanted = (moved - mean) / std
    torch.testing.assert_close(read.changes[:, :6], wanted)
    valid = trial.valid[0]
    assert read.rewards[valid].mean().abs() < 1e-5
    assert read.rewards[valid].std(unbiased=False).item() == pytest.approx(1, abs=1e-4)
    first_final = trial.final_observations[0, :, 0] - trial.observations[0, :, 6]
    torch.testing.assert_close(read.changes[:, 6], (first_final - mean) / std)
    # What follows a step is where the next one starts.
    torch.testing.assert_close(read.following[:, :6], read.observations[:, 1:7])
    assert read.observations[valid].std(0, unbiased=False).tolist() == pytest.approx([1, 1], 1e-4)


@pytest.mark.parametrize(("goes_on", "begun"), [(1.0, [True, False]), (0.0, [True, True])])
def test_only_trials_that_begin_diverge_from_the_standard_normal(goes_on, begun):
    run = Training(tiny(**{"outer.goes_on": goes_on}))
    run.step()
    run.step()
    _, others = replayed(run.state.optimizer, torch.tensor([0, 6]))  # a world of either collection
    assert others[BEGAN][0].tolist() == begun


@pytest.mark.parametrize("method", ["rl2", "varibad"])
def test_the_mean_output_is_0_at_the_start_and_has_a_gradient(method):
    config = with_settings(recipe("navigation", method), {"meta_batch_size": 4, "device": "cpu"})
    learner = learner_of(config)
    params = differentiable(learner.init(0).params)
    belief = learner.policy.begin(expand(params, 1), 4)
    dist, _ = learner.policy.act(expand(params, 1), belief, torch.ones(1, 4, 2))
    assert not dist.mean.any()
    (gradient,) = torch.autograd.grad(dist.mean.sum(), [params["weight_1"]])
    assert bool(gradient.any())


def test_a_latent_that_is_no_mean_and_deviation_is_refused():
    for size in (0, 5):
        with pytest.raises(InputError, match=rf"policy.latent_size = {size}: .*latent-size 10"):
            learner_of(tiny(**{"policy.latent_size": size}))


def test_it_is_a_method_that_trains_and_acts_from_the_command_line(tmp_path, capsys):
    run = tmp_path / "run"
    sizes = ["--meta-batch-size", "4", "--horizon", "5", "--iterations", "2"]
    small = ["--outer.minibatches", "2", "--outer.decode", "reward", "--sim-threads", "1"]
    command = ["train", "navigation", "--method", "varibad", "--run", str(run)]
    assert main([*command, *sizes, *small, "--evaluate-every", "0", "--device", "cpu"]) == 0
    lines = read_metrics(run)
    assert len(lines) == 2 and "train/elbo_reward" in lines[0]
    assert "train/elbo_state" not in lines[0]
    assert main(["resume", str(run), "--iterations", "3"]) == 0
    assert len(read_metrics(run)) == 3
    capsys.readouterr()
    assert main(["methods"]) == 0
    assert "varibad" in capsys.readouterr().out
