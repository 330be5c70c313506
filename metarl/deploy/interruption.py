"""The errors of an adaptation that was cut short: they carry what was learned until then."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metarl.deploy.policy import MetaPolicy


class AdaptationInterruptedError(RuntimeError):
    """The environment raised an error in mid-adaptation; its cause is that error."""

    policy: MetaPolicy
    """Adapted from the episodes that were whole; its `adapted` says from which."""

    def __init__(self, line: str, policy: MetaPolicy) -> None:
        super().__init__(line)
        self.policy = policy


class AdaptationCancelled(KeyboardInterrupt):
    """Ctrl-C in mid-adaptation. No `RuntimeError`, so that a script stops as it does otherwise."""

    policy: MetaPolicy
    """Adapted from the episodes that were whole; its `adapted` says from which."""

    def __init__(self, line: str, policy: MetaPolicy) -> None:
        super().__init__(line)
        self.policy = policy
