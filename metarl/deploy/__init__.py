"""Deployment: a policy meets a robot, adapts within limits, acts, and is exported.

`policy` loads, predicts, and adapts in an environment; `session` adapts in a control loop, `logged`
from recorded episodes, `continual` over a stream, `simulated` to a simulated task; `trial` only
acts, and a policy with a memory learns in it. `limits` hold in all of them; `onnx` exports.
"""

from metarl.deploy.episodes import Episode, EpisodeRecord
from metarl.deploy.gradient_step import AdaptationNotFiniteError
from metarl.deploy.policy import (
    AdaptationCancelled,
    AdaptationExit,
    AdaptationInterruptedError,
    MetaPolicy,
    load,
)
from metarl.deploy.simulated import Adaptation, adapt_to_task

__all__ = [
    "Adaptation",
    "AdaptationCancelled",
    "AdaptationExit",
    "AdaptationInterruptedError",
    "AdaptationNotFiniteError",
    "Episode",
    "EpisodeRecord",
    "MetaPolicy",
    "adapt_to_task",
    "load",
]
