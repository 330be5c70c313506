"""The interface of learners: all that the training loop uses of a method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, NamedTuple, Protocol, TypeVar

import torch

from metarl.adaptation.base import Adaptation
from metarl.adaptation.inner_loop import InnerLoopConfig
from metarl.adaptation.subset import ContextStep
from metarl.outer.state import TrainState
from metarl.policies.base import Policy
from metarl.policies.params import Params
from metarl.rollouts.collect import Collector
from metarl.rollouts.data import Rollouts
from metarl_envs import InputError, TaskFamily, Tasks
from metarl_envs.inputs.numbers import Count
from metarl_envs.inputs.plain import PlainFields


class Experience(Protocol):
    """Data that a learner collects in an iteration."""

    @property
    def rollouts(self) -> Sequence[Rollouts]: ...  # the first before adaptation, the last after it
    @property
    def collect_s(self) -> float: ...  # wall-clock seconds spent in the collections


class Update(NamedTuple):
    """Result of a learner's step, refused if it is not finite."""

    params: Params
    """New meta-parameters, without axis M."""
    optimizer: Params
    """New state of the optimiser."""
    metrics: dict[str, float]
    """Logged values; those named `train/*` are finite unless the step went wrong."""


E = TypeVar("E", bound=Experience)


class Learner(ABC, Generic[E]):
    """Makes policies that adapt. It holds no tensors: all that changes is in the state."""

    @property
    @abstractmethod
    def policy(self) -> Policy:
        """The policy function; `TrainState.params` are the parameters that it acts by."""

    @abstractmethod
    def init(self, seed: int) -> TrainState:
        """The state before the first iteration, with all random streams, from one seed."""

    @abstractmethod
    def collect(self, collector: Collector, state: TrainState, tasks: Tasks) -> E:
        """Experience on this process's share of these tasks, `collector.share`.

        Draws from `state.generators`, as much in every process, and changes nothing else.
        """

    @abstractmethod
    def update(self, state: TrainState, experience: E) -> Update:
        """One step on the experience of all processes, the same in each (`metarl.distributed`).

        All tensors of the result are on the CPU.
        """


@dataclass(frozen=True)
class LearnerParts:
    """Parts that a configuration gives every learner."""

    policy: Policy
    family: TaskFamily
    worlds: tuple[int, int]  # (M, E)
    horizon: int  # T
    inner: InnerLoopConfig  # not annealed yet: see `Adaptation.at`
    adaptation_steps: int  # K
    iterations: int  # of the whole training, for what is annealed
    device: torch.device  # of updates


class Phase(NamedTuple):
    """Iterations of a training that do the same."""

    name: str
    """In words, such as "teacher"; "" for the only one."""
    iterations: int
    collections: int
    """Episodes of every world in an iteration."""


@dataclass(frozen=True)
class LearnerSettings(PlainFields, ABC):
    """Settings of the outer loop, which make its learner. Frozen, without tensors."""

    within_episode: ClassVar[bool] = False
    """True if its policies find out their task as they act, so that `inner` is for deployment."""

    @abstractmethod
    def learner(self, parts: LearnerParts) -> Learner:
        """The learner with these settings."""

    def init(self, learned: Params) -> Params:
        """Fresh state of the optimiser for these meta-parameters: named tensors; {} for none."""
        del learned
        return {}

    def num_distinct_tasks(self, meta_batch_size: int) -> int:
        """Number of tasks drawn for M slots; slot m runs the (m modulo this)-th one.

        Fewer than M where several candidates must meet the same tasks.

        Raises:
            InputError: if the meta-batch cannot be divided so.
        """
        return meta_batch_size

    @property
    def runs_other_tasks(self) -> str:
        """The settings by which slots run other tasks than an iteration draws; "": they do not."""
        return ""

    def phases(self, iterations: int, adaptation_steps: int) -> list[Phase]:
        """Phases of a training of so many iterations, in order."""
        return [Phase("", iterations, adaptation_steps + 1)]

    def collections_held(self, adaptation_steps: int) -> int:
        """Largest number of collections in memory at once."""
        return adaptation_steps + 1

    def check(self, adaptation: Adaptation) -> None:
        """Refuse an adaptation that the learner cannot work with.

        Raises:
            InputError: with both names and an alternative.
        """
        del adaptation


@dataclass(frozen=True)
class WithinEpisode(LearnerSettings):
    """Settings of a learner of policies that find out their task as they act.

    Training takes no gradient step of the adaptation; deployment may, on top of the memory.
    """

    within_episode: ClassVar[bool] = True

    trial_episodes: Count = 2
    """Episodes of a trial in an iteration, >= 1."""

    def phases(self, iterations: int, adaptation_steps: int) -> list[Phase]:
        return [Phase("", iterations, self.trial_episodes)]

    def collections_held(self, adaptation_steps: int) -> int:
        return self.trial_episodes

    def check(self, adaptation: Adaptation) -> None:
        learned = type(adaptation).init is not Adaptation.init
        if learned or isinstance(adaptation, ContextStep):
            raise InputError(
                f"outer = {type(self).__name__} with inner = {type(adaptation).__name__}: its "
                "policy adapts by its memory, so that training learns no step; use one that needs "
                "no training, such as HeadStep (inner.kind head), or Unadapted (none)"
            )
