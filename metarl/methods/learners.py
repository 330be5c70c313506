"""From a configuration to the learner that it describes."""

from __future__ import annotations

from metarl.adaptation.inner_loop import InnerLoopConfig
from metarl.methods.config import TrainConfig
from metarl.outer.learner import Learner, LearnerParts
from metarl.policies.base import Policy


def learner_for(config: TrainConfig) -> Learner:
    """The learner of a run; its settings, `config.outer`, say of which kind it is."""
    inner = InnerLoopConfig(config.inner, config.inner_loss, config.discount, config.gae_lambda)
    return config.outer.learner(
        LearnerParts(
            Policy.for_family(config.task_family(), config.policy),
            inner,
            config.adaptation_steps,
            config.iterations,
            config.torch_device(),
        )
    )
