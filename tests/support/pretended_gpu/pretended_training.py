"""Small trainings on the pretended GPU, and what must hold in their updates."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import NamedTuple

from pretended_device import NOTES, of_kind

from metarl.methods.config import TrainConfig, with_settings
from metarl.methods.meta import METHODS
from metarl.methods.setup import learner_of
from metarl.outer.state import TrainState
from metarl.policies.mlp import MlpConfig
from metarl.runs.checkpoint import create_run
from metarl.training import trainer
from metarl.training.operation_counts import OperationCounts

NETWORK = MlpConfig(hidden_sizes=(8,), normalize_observations=True, context_size=2)


class Found(NamedTuple):
    """Waits and operations of an update."""

    waits: Counter[str]
    kernels: int


def small(method, iterations=2, recipe=None, **settings):
    """A method's recipe with few worlds and steps."""
    config = TrainConfig(
        family="half-cheetah-payload-velocity",
        method=method,
        horizon=6,
        policy=NETWORK,
        engine="warp",
        device="cpu",  # where the checkpoint of the pretended device is read again
    )
    config = (recipe or METHODS[method].recipe)(config)
    config = dataclasses.replace(config, horizon=6, iterations=iterations, checkpoint_every=1)
    sizes = {"meta_batch_size": 4, "episodes_per_task": min(5, config.episodes_per_task)}
    return with_settings(config, sizes | {"engine": "warp", "evaluate_every": 0} | settings)


def updates_of(config, state: TrainState, folder, monkeypatch) -> tuple[TrainState, list[Found]]:
    """Train to the end; what each update asked the device for, and how much it ran there."""
    learner, found = type(learner_of(config)), []
    update = learner.update

    def noted(self, *arguments):
        before = Counter(of_kind("wait", NOTES))
        with OperationCounts() as counts:
            result = update(self, *arguments)
        found.append(Found(Counter(of_kind("wait", NOTES)) - before, counts.kernels))
        return result

    with monkeypatch.context() as patched:
        patched.setattr(learner, "update", noted)
        return trainer.train(config, state, folder, quiet=True), found


def verify_training(config, folder, monkeypatch, *, waits, kernels):
    """Nothing is mixed, updates wait and run no more than they may, the state is on the CPU.

    Args:
        config: of the training.
        folder: of the run.
        monkeypatch: of the check.
        waits, kernels: largest numbers in an update.
    """
    create_run(folder, config, ["test"])
    state, found = updates_of(config, trainer.initial_state(config), folder, monkeypatch)
    assert not of_kind("mixed", NOTES), of_kind("mixed", NOTES)
    assert (state.iteration, state.refused) == (config.iterations, 0)
    for name, value in (state.params | state.optimizer).items():
        assert value.device.type == "cpu", f"{name} in {value.device}"
    assert max(one.waits.total() for one in found) <= waits, found
    assert max(one.kernels for one in found) <= kernels, found
