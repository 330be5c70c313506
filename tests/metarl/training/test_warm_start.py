"""Meta-training that starts from a policy: it begins with that policy's actions and return."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from support.tiny import tiny_policy
from support.tiny_runs import TINY, TINY_FLAGS, run_with

from metarl.cli import main
from metarl.methods.baselines import baseline_recipe
from metarl.methods.config import with_settings
from metarl.methods.families import recipe
from metarl.methods.setup import policy_of
from metarl.outer.state import Generators
from metarl.policies.mlp import GaussianMlpPolicy
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.runs.checkpoint import SavedPolicy, load_checkpoint, load_policy, save_policy
from metarl.runs.metrics_log import read_metrics
from metarl.training.warm_start import begun, state_from
from metarl_envs import BatchEnv, InputError, get_family


def robust_policy(family_name: str, std: float = 0.3, **changes: object) -> SavedPolicy:
    """A policy as a robust baseline saves it: controls as outputs, statistics of its own."""
    config = with_settings(
        baseline_recipe(family_name, "robust"), {"policy.hidden_sizes": [6, 5]} | changes
    )
    policy = policy_of(config)
    generator = torch.Generator().manual_seed(3)
    params = policy.init(generator)
    params["log_std"] = torch.full_like(params["log_std"], std).log()
    params["bias_2"] = params["bias_2"] + 0.1
    if config.policy.normalize_observations:
        params["obs_mean"] = torch.randn(params["obs_mean"].shape, generator=generator)
        params["obs_var"] = params["obs_var"] * 4
        params["obs_count"] = params["obs_count"] + 1e6
    return SavedPolicy(policy, params, config, {"iteration": 3})


def controls(policy: GaussianMlpPolicy, params, observations):
    std = policy.log_std(params).exp()
    return policy.controls(policy.mean(params, observations)), std / policy.config.action_scale


@pytest.mark.parametrize("method", ["maml-trpo", "promp", "meta-sgd", "cavia", "maml++"])
@pytest.mark.parametrize("normalised", [True, False])
def test_the_start_takes_the_same_actions_with_the_same_noise(method, normalised):
    saved = robust_policy("half-cheetah-velocity", **{"policy.normalize_observations": normalised})
    config, state = begun(saved, recipe("half-cheetah-velocity", method))
    policy = policy_of(config)
    observations = 3 * torch.randn(200, 17, generator=torch.Generator().manual_seed(0))
    expected, noise = controls(saved.policy, saved.params, observations)
    found, found_noise = controls(policy, state.params, observations)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found_noise, noise)
    # In units of the noise, which the recipe's inner step is meant for.
    torch.testing.assert_close(policy.log_std(state.params), torch.zeros(1, 6))
    assert config.policy.action_scale == pytest.approx(1 / 0.3)
    assert config.policy.context_size == recipe("half-cheetah-velocity", method).policy.context_size


def test_a_meta_trained_start_keeps_its_units_and_what_its_adaptation_learned():
    saved = tiny_policy("half-cheetah-velocity")
    learned = {"adaptation.rate.weight_0": torch.full((17, 8), 0.7)}
    target = recipe("half-cheetah-velocity", "meta-sgd")
    inner = dataclasses.replace(saved.config, method="meta-sgd", inner=target.inner)
    config, state = begun(
        dataclasses.replace(saved, config=inner, params=saved.params | learned), target
    )
    assert config.policy.action_scale == saved.config.policy.action_scale
    for name, value in (saved.params | learned).items():
        assert torch.equal(state.params[name], value), name
    # What was learned for another adaptation means nothing to this one.
    other = dataclasses.replace(saved, params=saved.params | learned)
    fresh = begun(other, target)[1].params["adaptation.rate.weight_0"]
    assert torch.equal(fresh, torch.full((17, 8), 0.1))


def test_a_context_is_not_lost():
    target = recipe("navigation", "cavia")
    policy = GaussianMlpPolicy.for_family(get_family("navigation"), target.policy)
    params = policy.init(torch.Generator().manual_seed(0))
    params["task.context"] = torch.linspace(-1, 1, 5)
    saved = SavedPolicy(policy, params, target, {})
    observations = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    for method in ("cavia", "promp"):
        config, state = begun(saved, recipe("navigation", method))
        now = GaussianMlpPolicy.for_family(get_family("navigation"), config.policy)
        torch.testing.assert_close(
            now.mean(state.params, observations), policy.mean(params, observations)
        )
        kept = state.params.get("weight_context")
        assert (kept is not None) == (method == "cavia")
        assert kept is None or torch.equal(kept, params["weight_context"])


@pytest.mark.parametrize(
    ("start", "changes", "message"),
    [
        ("half-cheetah-velocity", {}, "has 17 observations and actions from .*; navigation has 2"),
        ("navigation", {"observe_task": True}, "observes the task"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(start, changes, message):
    with pytest.raises(InputError, match=message):
        begun(robust_policy(start, **changes), recipe("navigation"))


def test_archives_of_sb3_are_not_read(tmp_path):
    (tmp_path / "model.zip").write_bytes(b"never opened")
    with pytest.raises(InputError, match="from_ppo"):
        state_from(tmp_path / "model.zip", recipe("navigation"))


@pytest.fixture
def in_a_folder_with_a_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved = robust_policy("navigation", std=0.05)
    # Goes to (-0.5, -0.5) whatever the goal is: a return that no fresh policy has.
    saved.params["weight_2"] *= 0
    saved.params["bias_2"] = torch.tensor([-0.1, -0.1]) * 10
    save_policy(tmp_path / "start", saved)
    return saved


def first_return(run):
    return read_metrics(run)[0]["rollout/return_pre"]


def test_meta_training_begins_at_the_starts_return(in_a_folder_with_a_start, tmp_path):
    flags = ["--meta-batch-size", "40", "--episodes-per-task", "2", "--horizon", "10"]
    flags += ["--sim-threads", "1", "--quiet", "--iterations", "1"]
    for run, start in (("fresh", []), ("begun", ["--start", "start"])):
        assert main(["train", "navigation", *flags, "--run", run, *start]) == 0
    assert main(["baseline", "finetuned", "navigation", "--start", "start", "--run", "same"]) == 0
    saved = load_policy(tmp_path / "same")
    # The same tasks, resets and noise as the first iteration's, with the policy as it was.
    random = Generators.from_seed(0)
    family = get_family("navigation")
    env = BatchEnv(family, 40, 2, horizon=10)
    env.set_tasks(family.sample_tasks(40, random.tasks, "train"))
    params = expand(saved.params, 40)
    rollouts = Collector(env, saved.policy).collect(params, random.resets, random.actions)
    expected = float(rollouts.rewards.sum(-1).mean())
    assert first_return(tmp_path / "begun") == pytest.approx(expected, rel=1e-4)
    assert abs(first_return(tmp_path / "fresh") - expected) > 0.5
    # The start itself is checkpoint 0, from where a run that is stopped at once goes on.
    config, state = load_checkpoint(tmp_path / "begun", 0)
    assert state.iteration == 0
    assert config == load_policy(tmp_path / "begun").config


def test_from_a_meta_trained_run_and_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_with(tmp_path / "given", 4)
    flags = [*TINY_FLAGS, "--quiet", "--device", "cpu"]
    assert main(["train", "navigation", "--start", "given", "--iterations", "2", *flags]) == 0
    run = tmp_path / "runs/navigation-maml-trpo-0"
    start, given = load_checkpoint(run, 0)[1].params, load_policy(tmp_path / "given").params
    assert start.keys() == given.keys()
    assert all(torch.equal(start[name], value) for name, value in given.items())
    assert load_policy(run).config.policy.hidden_sizes == TINY.policy.hidden_sizes
    assert main(["resume", str(run), "--iterations", "3", "--quiet"]) == 0
    assert load_policy(run).metadata["iteration"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--start gone", "gone: no such"),
        ("--start model.zip", "reading an archive of Stable-Baselines3 can run code in it"),
        ("--start start --policy.activation relu", "the network is that of --start start"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    in_a_folder_with_a_start, capsys, tmp_path, arguments, message
):
    assert main(["train", "navigation", *arguments.split()]) in (1, 2)
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "runs").exists()
