"""Deployment: a policy meets a robot, adapts within limits, acts, and is exported."""

from metarl.deploy.policy import Adaptation, MetaPolicy, adapt_to_task, load

__all__ = ["Adaptation", "MetaPolicy", "adapt_to_task", "load"]
