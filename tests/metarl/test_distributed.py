"""Reductions over tasks by hand, and as the only place where processes would have to meet."""

from __future__ import annotations

import dataclasses
import threading

import pytest
import torch
from support.meta_problem import displaced, meta_problem
from support.search_checks import iteration_of, linear_params
from torch import Generator, Tensor

from metarl import distributed
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.learned_rates import MetaSgd
from metarl.outer import OUTER_UPDATES
from metarl.outer.adam import Adam
from metarl.outer.cma_es import CmaEs
from metarl.outer.e_maml import EMaml
from metarl.outer.es import EvolutionStrategy
from metarl.outer.maml_pp import MamlPlusPlus
from metarl.outer.meta_gradient import OuterUpdate
from metarl.outer.ppo import Ppo
from metarl.outer.promp import ProMp
from metarl.outer.reptile import Reptile
from metarl.outer.trpo import Trpo
from metarl.policies.params import learned

RANKS = 2


def test_a_mean_over_tasks_by_hand():
    values = torch.tensor([[1.0, 2.0], [torch.nan, torch.inf], [3.0, 6.0]])
    failed = torch.tensor([False, True, False])
    assert distributed.sums_over_tasks({"w": values}, failed)["w"].tolist() == [4.0, 8.0]
    assert distributed.mean_over_tasks(values, failed).tolist() == [2.0, 4.0]
    assert distributed.mean_over_tasks(values, torch.tensor([True] * 3)).isnan().all()


def test_sums_over_tasks_do_not_depend_on_how_they_are_split():
    """In float32 the parts 1e8 + 1 and -1e8 + 1 would each lose their 1."""
    values = torch.tensor([1e8, 1.0, -1e8, 1.0])
    none = torch.zeros(4, dtype=torch.bool)
    assert distributed.sums_over_tasks({"w": values}, none)["w"].item() == 2.0
    mean = distributed.mean_over_tasks(values, none)
    assert (mean.item(), mean.dtype) == (0.5, torch.float32)


def test_no_gradient_comes_back_from_a_failed_task():
    values = torch.tensor([1.0, torch.inf, 3.0], requires_grad=True)
    mean = distributed.mean_over_tasks(values.square(), torch.tensor([False, True, False]))
    (gradient,) = torch.autograd.grad(mean, values)
    assert gradient[[0, 2]].tolist() == [1.0, 3.0]


class Ranks:
    """Threads in the place of processes, which meet where `metarl.distributed` says so.

    They take turns: forward derivatives of torch have one level for all threads.
    """

    def __init__(self) -> None:
        self._barrier, self._values = threading.Barrier(RANKS, timeout=60), {}
        self._own, self._turn = threading.local(), threading.Lock()

    def rank(self) -> int:
        return self._own.rank

    def gather(self, values: Tensor) -> list[Tensor]:
        self._values[self.rank()] = values.detach().clone()
        self._meet()
        everyone = [self._values[rank] for rank in range(RANKS)]
        self._meet()
        return everyone

    def _meet(self) -> None:
        self._turn.release()
        try:
            self._barrier.wait()
        finally:
            self._turn.acquire()

    def sum_over_ranks(self, values: Tensor) -> Tensor:
        return values + sum(self.gather(values)) - values.detach()

    def run(self, work) -> list:
        results = [None] * RANKS

        def of_rank(rank: int) -> None:
            self._own.rank = rank
            try:
                with self._turn:
                    results[rank] = work(rank)
            except BaseException:
                self._barrier.abort()
                raise

        threads = [threading.Thread(target=of_rank, args=(rank,)) for rank in range(RANKS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


@pytest.fixture
def ranks(monkeypatch):
    """Two ranks from here on; before, there is one."""
    ranks = Ranks()

    def use() -> Ranks:
        monkeypatch.setattr(distributed, "rank", ranks.rank)
        monkeypatch.setattr(distributed, "world_size", lambda: RANKS)
        monkeypatch.setattr(distributed, "sum_over_ranks", ranks.sum_over_ranks)
        monkeypatch.setattr(
            distributed, "gather_over_ranks", lambda values: torch.cat(ranks.gather(values))
        )
        return ranks

    return use


def equal(found, expected) -> None:
    for one, other in ((found.params, expected.params), (found.optimizer, expected.optimizer)):
        assert one.keys() == other.keys()
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    reduced = {"train/step_norm", "train/grad_norm", "train/policy_loss", "train/approx_kl"}
    for name in reduced & expected.metrics.keys():
        assert found.metrics[name] == pytest.approx(expected.metrics[name], rel=1e-7, abs=1e-12)


GRADIENT = [
    Trpo(curvature_fraction=1.0),
    Adam(),
    Ppo(minibatches=2),
    ProMp(epochs=2, minibatches=2, inner_kl_penalty=0.1),
    EMaml(minibatches=1),
    MamlPlusPlus(minibatches=1, multi_step_until=0.5),
    Reptile(0.5),
]
SEARCH = [EvolutionStrategy(), CmaEs(population=4)]


def test_every_registered_update_is_tried_on_two_ranks():
    updates = {kind for kind in OUTER_UPDATES.values() if issubclass(kind, OuterUpdate)}
    assert {type(outer) for outer in (*GRADIENT, *SEARCH)} == updates


@pytest.mark.parametrize("adaptation", [GradientStep(0.3), MetaSgd(0.3)], ids=["MAML", "SGD"])
@pytest.mark.parametrize("outer", GRADIENT, ids=lambda outer: type(outer).__name__)
def test_two_ranks_take_the_step_of_one_by_these_reductions_alone(outer, adaptation, ranks):
    given = meta_problem(adaptation, "ratio", 2, num_tasks=6)
    given = dataclasses.replace(given, theta=displaced(given, 1e-3), failures=(4,))
    returns = torch.tensor([1.0, -2.0, torch.nan, 3.0, 9.0, 2.5], dtype=torch.float64)

    def step(which: Tensor):
        iteration = given.of_tasks(*which.tolist()).iteration(returns[which].tolist(), progress=0.2)
        return outer.update(given.theta, outer.init(learned(given.theta)), iteration)

    whole = step(torch.arange(6))
    assert any(not torch.equal(value, given.theta[n]) for n, value in whole.params.items())
    # Slices that lose different numbers of tasks: a mean of means would be another step.
    for found in ranks().run(lambda rank: step(torch.arange(6).chunk(RANKS)[rank])):
        equal(found, whole)


@pytest.mark.parametrize("outer", SEARCH, ids=lambda outer: type(outer).__name__)
def test_two_ranks_search_as_one_does(outer, ranks):
    M = 16
    theta = {name: value.double() for name, value in linear_params().items()}
    tasks = torch.arange(M) % outer.num_distinct_tasks(M)
    optimizer = outer.init(learned(theta))
    start = outer.propose(theta, optimizer, M, Generator().manual_seed(1))
    returns = torch.randn(M, generator=Generator().manual_seed(2), dtype=torch.float64)
    returns[2] = torch.nan

    def step(own: Tensor):
        slots = {name: value[own] for name, value in start.items()}
        return outer.update(theta, optimizer, iteration_of(slots, returns[own]))

    whole = step(torch.arange(M) >= 0)
    slices = tasks.unique().chunk(RANKS)  # of tasks, each with all of its candidates
    for found in ranks().run(lambda rank: step(torch.isin(tasks, slices[rank]))):
        equal(found, whole)
