"""The training loop: it learns, refuses what is not finite, and stops with a saved state."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.none import Unadapted
from metarl.errors import FaultError, NonFiniteUpdateError
from metarl.methods.config import TrainConfig
from metarl.methods.families import RECIPES, recipe
from metarl.methods.meta import METHODS
from metarl.methods.setup import family_of
from metarl.outer.meta_gradient import update_normaliser
from metarl.outer.promp import ProMp
from metarl.outer.trpo import Trpo
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.runs.checkpoint import create_run, load_checkpoint
from metarl.runs.metrics_log import read_metrics
from metarl.training import trainer
from metarl_envs import BatchEnv, get_family


def tiny(**changes) -> TrainConfig:
    config = TrainConfig(
        family="navigation",
        method="maml-trpo",
        horizon=10,
        iterations=2,
        meta_batch_size=3,
        episodes_per_task=4,
        device="cpu",
        sim_threads=1,
        policy=MlpConfig(hidden_sizes=(8,), action_scale=1.0),
    )
    return dataclasses.replace(config, **changes)


def run_training(config, folder, state=None):
    create_run(folder, config, ["test"])
    return trainer.train(config, state or trainer.initial_state(config), folder, quiet=True)


def test_meta_training_learns_to_adapt_within_a_minute(tmp_path):
    """The learning test: three seeds measured gains of 0.7-2.9 at first and 3.2-5.3 at the end."""
    config = tiny(
        horizon=20,
        iterations=40,
        meta_batch_size=20,
        episodes_per_task=10,
        policy=MlpConfig(hidden_sizes=(32, 32), action_scale=1.0),
        outer=Trpo(max_kl=0.02),
    )
    run_training(config, tmp_path / "run")
    metrics = read_metrics(tmp_path / "run")

    def mean(key, lines):
        return sum(line[key] for line in lines) / len(lines)

    assert mean("rollout/adaptation_gain", metrics[:2]) < 2.5
    assert mean("rollout/adaptation_gain", metrics[-10:]) > 3.0
    assert mean("rollout/return_post", metrics[:2]) < -6.0
    assert mean("rollout/return_post", metrics[-10:]) > -4.6


def test_metrics_have_one_line_per_iteration_with_the_documented_keys(tmp_path):
    config = tiny(iterations=3)
    state = run_training(config, tmp_path / "run")
    metrics = read_metrics(tmp_path / "run")
    assert [line["iteration"] for line in metrics] == [1, 2, 3]
    assert metrics[-1]["rollout/env_steps"] == state.env_steps
    # At most M * E * T steps in each of two collections; fewer where a goal is reached.
    assert 0 < state.env_steps <= 3 * 2 * 3 * 4 * 10
    expected = {
        "rollout/return_pre",
        "rollout/return_post",
        "rollout/adaptation_gain",
        "rollout/ep_len_mean",
        "inner/kl",
        "train/policy_loss",
        "train/approx_kl",
        "train/grad_norm",
        "train/entropy",
        "train/std",
        "train/explained_variance",
        "time/collect_s",
        "time/update_s",
        "time/fps",
        "health/nonfinite_envs",
    }
    assert expected <= metrics[0].keys()


def test_same_seed_gives_the_same_bits_for_any_number_of_simulator_threads(tmp_path):
    states = []
    for index, threads in enumerate((1, 2, 1)):
        config = tiny(family="half-cheetah-direction", sim_threads=threads)
        states.append(run_training(config, tmp_path / str(index)))
    for name, value in states[0].params.items():
        assert torch.equal(value, states[1].params[name])
        assert torch.equal(value, states[2].params[name])
    other = run_training(tiny(family="half-cheetah-direction", seed=1), tmp_path / "other")
    assert not torch.equal(other.params["weight_0"], states[0].params["weight_0"])


def test_training_leaves_the_global_generator_alone(tmp_path):
    before = torch.get_rng_state()
    run_training(tiny(), tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("part", ["params", "optimizer"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_three_refused_updates_in_a_row_stop_the_run_with_the_last_good_state(
    tmp_path, monkeypatch, value, part
):
    healthy = ProMp.update
    calls = []

    def poisoned(self, *arguments):
        calls.append(1)
        update = healthy(self, *arguments)
        tensors = getattr(update, part)
        broken = {name: torch.full_like(tensor, value) for name, tensor in tensors.items()}
        return update._replace(**{part: broken}) if len(calls) > 2 else update

    monkeypatch.setattr(ProMp, "update", poisoned)
    with pytest.raises(NonFiniteUpdateError, match="3 updates in a row"):
        run_training(tiny(iterations=9, outer=ProMp()), tmp_path / "run")
    _, state = load_checkpoint(tmp_path / "run")
    assert (state.iteration, state.refused) == (5, 3)
    assert all(torch.isfinite(p).all() for p in state.params.values())
    monkeypatch.setattr(ProMp, "update", healthy)
    good = run_training(tiny(iterations=2, outer=ProMp()), tmp_path / "good")
    assert all(torch.equal(good.params[name], p) for name, p in state.params.items())
    assert all(torch.equal(good.optimizer[name], p) for name, p in state.optimizer.items())


def test_one_refused_update_is_skipped_and_training_goes_on(tmp_path, monkeypatch):
    healthy = Trpo.update
    calls = []

    def poisoned(self, *arguments):
        calls.append(1)
        update = healthy(self, *arguments)
        broken = {"train/grad_norm": torch.nan} if len(calls) == 2 else {}
        return update._replace(metrics=update.metrics | broken)

    monkeypatch.setattr(Trpo, "update", poisoned)
    state = run_training(tiny(iterations=4), tmp_path / "run")
    assert (state.iteration, state.refused, state.refused_in_a_row) == (4, 1, 0)
    assert [line["health/refused_updates"] for line in read_metrics(tmp_path / "run")] == [
        0,
        1,
        1,
        1,
    ]


def failing(monkeypatch, *tasks):
    """Every step of these tasks' adaptation overflows, in the meta-gradient as in the rollouts."""
    healthy = GradientStep.step

    def step(self, params, loss, k):
        stepped = healthy(self, params, loss, k)
        bias = stepped["bias_0"]
        size = torch.ones(len(bias), 1)
        size[list(tasks)] = torch.inf
        return stepped | {"bias_0": bias + (size - 1) * stepped["log_std"][:, :1]}

    monkeypatch.setattr(GradientStep, "step", step)


@pytest.mark.parametrize("outer", [Trpo(), ProMp()], ids=["trpo", "promp"])
def test_training_goes_on_where_the_adaptation_to_a_task_fails_each_time(
    tmp_path, monkeypatch, outer
):
    failing(monkeypatch, 1)
    config = tiny(iterations=4, outer=outer)
    state = run_training(config, tmp_path / "run")
    metrics = read_metrics(tmp_path / "run")
    assert [line["health/failed_adaptations"] for line in metrics] == [1, 1, 1, 1]
    assert (state.iteration, state.refused) == (4, 0)
    before = trainer.initial_state(config)
    assert all(torch.isfinite(value).all() for value in state.params.values())
    assert not torch.equal(state.params["weight_0"], before.params["weight_0"])


@pytest.mark.parametrize("outer", [Trpo(), ProMp()], ids=["trpo", "promp"])
def test_where_the_adaptation_to_every_task_fails_the_run_stops_and_says_so(
    tmp_path, monkeypatch, outer
):
    failing(monkeypatch, 0, 1, 2)
    config = tiny(iterations=4, outer=outer)
    with pytest.raises(
        NonFiniteUpdateError, match=r"3 updates in a row .* adaptation to 3 of 3 tasks"
    ) as e:
        run_training(config, tmp_path / "run")
    assert "\n" not in str(e.value)
    _, state = load_checkpoint(tmp_path / "run")
    before = trainer.initial_state(config)
    assert all(torch.equal(value, before.params[name]) for name, value in state.params.items())
    for name, value in state.optimizer.items():
        assert torch.equal(value, before.optimizer[name])


def test_too_many_diverged_worlds_stop_the_run(tmp_path):
    config = tiny()
    state = trainer.initial_state(config)
    state.params["bias_1"][:] = torch.nan
    with pytest.raises(FaultError, match="100% of the episodes"):
        run_training(config, tmp_path / "run", state)


def test_several_adaptation_steps_collect_after_each(tmp_path):
    config = tiny(iterations=1, adaptation_steps=3)
    state = run_training(config, tmp_path / "run")
    assert 3 * 3 * 4 < state.env_steps <= 4 * 3 * 4 * 10


@pytest.mark.parametrize("method", METHODS)
def test_every_family_has_a_complete_recipe_under_every_method(method):
    for name in RECIPES:
        config = recipe(name, method)
        horizon = get_family(name).horizon
        assert (config.family, config.method, config.horizon) == (name, method, horizon)


def test_a_method_leaves_the_familys_own_settings_alone():
    for method in METHODS:
        config = recipe("navigation", method)
        assert config.policy.action_scale == 1.0
        if not isinstance(config.inner, Unadapted):  # else another network
            assert config.policy.activation == "relu"
            # A learned critic of trials is not the regression that this lambda is meant for.
            assert config.gae_lambda == 1.0


def test_the_normaliser_counts_the_steps_of_every_collection(tmp_path):
    network = MlpConfig(hidden_sizes=(4,), action_scale=1.0, normalize_observations=True)
    config = tiny(policy=network, iterations=2, adaptation_steps=2)
    state = run_training(config, tmp_path / "run")
    assert state.refused == 0
    assert state.params["obs_count"].item() == state.env_steps


def test_the_normaliser_learns_from_adapted_policies_too():
    """Else their speeds lie beyond its clip, where a meta-policy that stands still was measured."""
    config = tiny(policy=MlpConfig(hidden_sizes=(4,), normalize_observations=True))
    family = family_of(config)
    policy = GaussianMlpPolicy.for_family(family, config.policy)
    still = policy.init(torch.Generator().manual_seed(0))
    fast = still | {"bias_1": torch.full((2,), 5.0)}
    env = BatchEnv(family, 2, 3, horizon=6)
    env.set_tasks(family.sample_tasks(2, torch.Generator().manual_seed(1), "train"))
    rollouts = [
        Collector(env, policy).collect(
            expand(params, 2), *(torch.Generator().manual_seed(s) for s in (2, 3))
        )
        for params in (still, fast)
    ]
    moved = update_normaliser(policy, still, rollouts)
    everything = torch.cat([r.observations[r.valid] for r in rollouts]).double()
    assert float(moved["obs_count"]) == 2 * 2 * 3 * 6
    torch.testing.assert_close(moved["obs_mean"].double(), everything.mean(0))
    torch.testing.assert_close(moved["obs_var"].double(), everything.var(0, unbiased=False))
