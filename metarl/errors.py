"""The errors that end a command, each with an exit code of its own in `metarl.cli`."""

from __future__ import annotations


class RunError(RuntimeError):
    """A run or policy folder that cannot be used. One line: the path, what is wrong, the mend."""


class FaultError(RuntimeError):
    """Too many simulated worlds diverged in one iteration."""


class NonFiniteUpdateError(RuntimeError):
    """Several updates in a row were not finite, so none was applied and training stopped."""
