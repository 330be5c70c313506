"""Deployment: a policy meets a robot, adapts within limits, acts, and is exported."""

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
