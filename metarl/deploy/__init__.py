"""Deployment: a policy meets a robot, adapts within limits, acts, and is exported."""

from metarl.deploy.episodes import Episode, EpisodeRecord
from metarl.deploy.interruption import (
    AdaptationCancelled,
    AdaptationExit,
    AdaptationInterruptedError,
    AdaptationNotFiniteError,
)
from metarl.deploy.policy import Adaptation, MetaPolicy, adapt_to_task, load

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
