"""Every pair of an adaptation and an outer loop learns, or is refused by name."""

from __future__ import annotations

import itertools

import pytest
import torch

from metarl.adaptation import ADAPTATIONS
from metarl.adaptation.learned_rates import MetaSgd
from metarl.adaptation.subset import ContextStep
from metarl.methods.config import TrainConfig
from metarl.outer import OUTER_UPDATES
from metarl.outer.cma_es import CmaEs
from metarl.outer.meta_gradient import OuterUpdate
from metarl.outer.reptile import Reptile
from metarl.policies.mlp import MlpConfig
from metarl.policies.params import learned
from metarl.runs.checkpoint import create_run
from metarl.training.trainer import initial_state, train
from metarl_envs import InputError

REFUSED = {
    ("meta-sgd", "reptile"),
    ("layer-rates", "reptile"),
    ("learned-optimizer", "reptile"),
    ("head", "reptile"),
    ("context", "reptile"),
    ("none", "reptile"),
}
SMALL = {"learned-optimizer": {"hidden_size": 4}, "adam": {"epochs": 2}}
"""CMA-ES searches few entries; derivatives of 20 Adam steps take their time."""


BETWEEN_EPISODES = [n for n, cls in OUTER_UPDATES.items() if issubclass(cls, OuterUpdate)]
WITHIN_EPISODES = [name for name in OUTER_UPDATES if name not in BETWEEN_EPISODES]


def pair(inner, outer, **changes):
    return TrainConfig(
        family="navigation",
        method="maml-trpo",
        horizon=4,
        iterations=2,
        meta_batch_size=8,
        episodes_per_task=5,
        device="cpu",
        sim_threads=1,
        policy=MlpConfig(
            hidden_sizes=(4,),
            action_scale=1.0,
            context_size=2 if isinstance(inner, ContextStep) else 0,
        ),
        inner=inner,
        outer=outer,
        **changes,
    )


@pytest.mark.parametrize(("inner", "outer"), itertools.product(ADAPTATIONS, BETWEEN_EPISODES))
def test_a_pair_moves_every_learned_tensor_or_is_refused(inner, outer, tmp_path):
    objective = CmaEs(population=4) if outer == "cma-es" else OUTER_UPDATES[outer]()
    if (inner, outer) in REFUSED:
        with pytest.raises(InputError, match=f"Reptile with inner = {ADAPTATIONS[inner].__name__}"):
            pair(ADAPTATIONS[inner](), objective)
        return
    config = pair(ADAPTATIONS[inner](**SMALL.get(inner, {})), objective)
    create_run(tmp_path / "run", config, ["metarl", "train"])
    start = initial_state(config)
    end = train(config, start, tmp_path / "run", quiet=True)
    assert end.refused == 0
    unchanged = [n for n, v in learned(start.params).items() if torch.equal(v, end.params[n])]
    assert not unchanged


@pytest.mark.parametrize(("inner", "outer"), itertools.product(ADAPTATIONS, WITHIN_EPISODES))
def test_steps_on_top_of_a_memory_are_such_as_need_no_training(inner, outer):
    if inner not in ("meta-sgd", "layer-rates", "learned-optimizer", "context"):
        pair(ADAPTATIONS[inner](), OUTER_UPDATES[outer]())
        return
    name = ADAPTATIONS[inner].__name__
    with pytest.raises(InputError, match=rf"outer = .* with inner = {name}: .*such as HeadStep"):
        pair(ADAPTATIONS[inner](), OUTER_UPDATES[outer]())


def test_the_refusal_names_what_fits():
    with pytest.raises(InputError, match="use GradientStep or ProximalStep"):
        pair(MetaSgd(), Reptile())
    with pytest.raises(InputError, match=r"outer = Reptile with inner = .*use GradientStep"):
        pair(ContextStep(), Reptile(), adaptation_steps=2)
