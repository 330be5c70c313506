"""A learner of another kind goes through the same loop, checkpoints and resume."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from metarl.cli import main
from metarl.methods.config import TrainConfig
from metarl.outer import OUTER_UPDATES
from metarl.outer.learner import Learner, LearnerParts, LearnerSettings, Update
from metarl.outer.state import Generators, TrainState
from metarl.policies.mlp import GaussianMlpPolicy, MlpConfig
from metarl.policies.params import Params, expand, learned
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl.runs.checkpoint import checkpoints, create_run, load_checkpoint, load_policy
from metarl.runs.metrics_log import read_metrics
from metarl.training.trainer import initial_state, train
from metarl_envs import InputError, Tasks

# ---- the whole of a learner, as one file would hold it -------------------------------------------


@dataclass(frozen=True)
class RandomSearch(LearnerSettings):
    """Of the policy and one nearby, both on the same tasks, the better one stays."""

    sigma: float = 0.1
    """Standard deviation of the perturbation, > 0."""

    def learner(self, parts: LearnerParts) -> Learner:
        return RandomSearcher(self, parts.policy)

    def init(self, learned: Params) -> Params:
        return {"accepted": torch.zeros(())}

    def num_distinct_tasks(self, meta_batch_size: int) -> int:
        if meta_batch_size % 2:
            raise InputError(f"meta_batch_size = {meta_batch_size}: must be even")
        return meta_batch_size // 2


@dataclass(frozen=True)
class Comparison:
    rollouts: list[Rollouts]
    candidate: Params
    collect_s: float = 0.0


class RandomSearcher(Learner[Comparison]):
    def __init__(self, settings: RandomSearch, policy: GaussianMlpPolicy) -> None:
        self._settings, self._policy = settings, policy

    @property
    def policy(self) -> GaussianMlpPolicy:
        return self._policy

    def init(self, seed: int) -> TrainState:
        generators = Generators.from_seed(seed)
        params = self._policy.init(generators.init)
        return TrainState(params, generators, self._settings.init(learned(params)))

    def collect(self, collector: Collector, state: TrainState, tasks: Tasks) -> Comparison:
        rng, half = state.generators, len(tasks)

        def perturbed(value: Tensor) -> Tensor:
            noise = torch.randn(value.shape, generator=rng.search)
            return value + self._settings.sigma * noise

        candidate = {name: perturbed(value) for name, value in learned(state.params).items()}
        candidate = state.params | candidate
        both = zip(expand(state.params, half).items(), expand(candidate, half).items(), strict=True)
        params = {name: torch.cat([old, new]) for (name, old), (_, new) in both}
        collector.env.set_tasks(tasks[torch.arange(2 * half) % half])
        return Comparison([collector.collect(params, rng.resets, rng.actions)], candidate)

    def update(self, state: TrainState, experience: Comparison) -> Update:
        old, new = experience.rollouts[0].task_returns().chunk(2)
        gain = float((new - old).mean())
        params = experience.candidate if gain > 0 else state.params
        accepted = state.optimizer["accepted"] + (gain > 0)
        return Update(params, {"accepted": accepted}, {"train/gain": gain})


# ---- through the loop ----------------------------------------------------------------------------

CONFIG = TrainConfig(
    family="navigation",
    method="maml-trpo",
    horizon=10,
    iterations=6,
    meta_batch_size=4,
    episodes_per_task=5,
    device="cpu",
    sim_threads=1,
    checkpoint_every=3,
    evaluate_every=3,
    evaluation_tasks=2,
    policy=MlpConfig(hidden_sizes=(8,), action_scale=1.0),
    outer=RandomSearch(),
)


@pytest.fixture(autouse=True)
def registry_line(monkeypatch):
    monkeypatch.setitem(OUTER_UPDATES, "random-search", RandomSearch)


def lines(run):
    return [
        {name: value for name, value in line.items() if not name.startswith("time/")}
        for line in read_metrics(run)
    ]


def test_a_learner_of_another_kind_trains_and_is_saved(tmp_path):
    create_run(tmp_path / "run", CONFIG, ["test"])
    start = initial_state(CONFIG)
    end = train(CONFIG, start, tmp_path / "run", quiet=True)
    gains = [line["train/gain"] for line in lines(tmp_path / "run")]
    assert (end.iteration, end.refused) == (6, 0)
    assert float(end.optimizer["accepted"]) == sum(gain > 0 for gain in gains)
    assert 0 < sum(gain > 0 for gain in gains) < 6
    saved = load_policy(tmp_path / "run")
    assert saved.config.outer == RandomSearch()
    assert all(torch.equal(saved.params[name], value) for name, value in end.params.items())
    assert not torch.equal(start.params["weight_0"], end.params["weight_0"])


def test_it_resumes_with_the_same_bits(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    create_run(whole, CONFIG, ["test"])
    train(CONFIG, initial_state(CONFIG), whole, quiet=True)
    half = dataclasses.replace(CONFIG, iterations=3)
    create_run(parts, half, ["test"])
    train(half, initial_state(half), parts, quiet=True)
    assert main(["resume", str(parts), "--iterations", "6", "--quiet"]) == 0
    for name in ("model.safetensors", "training.safetensors"):
        found, expected = (checkpoints(run)[0] / name for run in (parts, whole))
        assert found.read_bytes() == expected.read_bytes()
    assert lines(parts) == lines(whole)
    assert load_checkpoint(parts)[1].iteration == 6


def test_its_update_is_refused_where_it_is_not_finite(tmp_path, monkeypatch):
    good = RandomSearcher.update

    def poisoned(self, state, experience):
        update = good(self, state, experience)
        return update._replace(metrics={"train/gain": float("nan")})

    monkeypatch.setattr(RandomSearcher, "update", poisoned)
    config = dataclasses.replace(CONFIG, iterations=2, evaluate_every=0)
    create_run(tmp_path / "run", config, ["test"])
    start = initial_state(config)
    end = train(config, start, tmp_path / "run", quiet=True)
    assert end.refused == 2
    assert all(torch.equal(end.params[name], value) for name, value in start.params.items())
