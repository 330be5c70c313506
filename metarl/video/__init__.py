"""Films of adaptation: the same task from the same start, before it and after, or within it."""

from __future__ import annotations

from metarl.video.film import record, weights_sha256
from metarl_envs import Camera

__all__ = ["Camera", "record", "weights_sha256"]
