"""Before/after videos: the same task from the same start, without and with adaptation."""

from __future__ import annotations

from metarl.recording.film import record, weights_sha256

__all__ = ["record", "weights_sha256"]
