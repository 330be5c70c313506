"""Deployment: a policy meets a robot, adapts within limits, acts, and is exported."""

from metarl.deploy.interruption import AdaptationCancelled, AdaptationInterruptedError
from metarl.deploy.policy import Adaptation, MetaPolicy, adapt_to_task, load

__all__ = [
    "Adaptation",
    "AdaptationCancelled",
    "AdaptationInterruptedError",
    "MetaPolicy",
    "adapt_to_task",
    "load",
]
