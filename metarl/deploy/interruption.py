"""The errors of an adaptation that was cut short: they carry what was gathered until then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metarl.errors import NonFiniteUpdateError

if TYPE_CHECKING:
    from metarl.deploy.episodes import Episode
    from metarl.deploy.policy import MetaPolicy


class AdaptationInterruptedError(RuntimeError):
    """The environment raised an error in mid-adaptation; its cause is that error."""

    policy: MetaPolicy
    """Adapted from the episodes that were whole, `policy.episodes`."""

    def __init__(self, line: str, policy: MetaPolicy) -> None:
        super().__init__(line)
        self.policy = policy


class AdaptationCancelled(KeyboardInterrupt):
    """Ctrl-C in mid-adaptation. No `RuntimeError`, so that a script stops as it does otherwise."""

    policy: MetaPolicy
    """Adapted from the episodes that were whole, `policy.episodes`."""

    def __init__(self, line: str, policy: MetaPolicy) -> None:
        super().__init__(line)
        self.policy = policy


class AdaptationExit(SystemExit):
    """`sys.exit` in mid-adaptation, such as by a signal's handler; its `code` is kept."""

    policy: MetaPolicy
    """Adapted from the episodes that were whole, `policy.episodes`."""

    def __init__(self, error: SystemExit, policy: MetaPolicy) -> None:
        super().__init__(error.code)
        self.policy = policy


class AdaptationNotFiniteError(NonFiniteUpdateError):
    """A gradient step on a robot that is not finite, so that there is no adapted policy."""

    episodes: tuple[Episode, ...]
    """What was gathered."""

    def __init__(self, line: str, episodes: tuple[Episode, ...]) -> None:
        super().__init__(line)
        self.episodes = episodes
