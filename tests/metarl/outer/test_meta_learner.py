"""Progress of meta-training, as the adaptation and the outer update receive it."""

import dataclasses

import pytest
from torch import Generator

from metarl.adaptation.learned_rates import LayerRates
from metarl.methods.config import with_settings
from metarl.methods.families import recipe
from metarl.methods.setup import learner_of, training_env
from metarl.outer.learner import Update
from metarl.outer.maml_pp import MamlPlusPlus
from metarl.rollouts.collect import Collector


@pytest.mark.parametrize(
    ("iteration", "progress", "first_order"),
    [(0, 0.0, True), (1, 0.25, True), (2, 0.5, False), (3, 0.75, False)],
)
def test_progress_is_the_share_of_iterations_before(monkeypatch, iteration, progress, first_order):
    config = with_settings(
        recipe("navigation", "maml++"),
        {"iterations": 4, "horizon": 5, "sim_threads": 1, "device": "cpu"}
        | {"policy.hidden_sizes": [4], "inner.first_order_until": 0.5},
    )
    received = []

    def update(outer, params, optimizer, iteration):
        received.append(iteration)
        return Update(params, optimizer, {})

    monkeypatch.setattr(MamlPlusPlus, "update", update)
    learner, env = learner_of(config), training_env(config, 2, 2)
    state = dataclasses.replace(learner.init(seed=0), iteration=iteration)
    tasks = env.family.sample_tasks(2, Generator().manual_seed(0), "train")
    learner.update(state, learner.collect(Collector(env, learner.policy), state, tasks))
    assert [seen.progress for seen in received] == [progress]
    assert isinstance(received[0].adaptation, LayerRates)
    assert received[0].adaptation.first_order == first_order
