"""The errors that end a command, each with an exit code of its own in `metarl.cli`."""

from __future__ import annotations


class RunError(RuntimeError):
    """A run or policy folder that cannot be used. One line: the path, what is wrong, the mend."""


class FaultError(RuntimeError):
    """Too many simulated worlds diverged in one iteration."""

    @classmethod
    def of(cls, share: float, iteration: int, most: float) -> FaultError:
        """The error for a share of an iteration's episodes, where at most `most` is allowed."""
        return cls(
            f"{share:.0%} of the episodes of iteration {iteration} diverged, or gave a reward or "
            f"observation that is not finite (max_fault_share = {most:.0%}): metarl check says "
            "where; fix the reward, narrow the family's parameter ranges, or raise the limit"
        )


class NonFiniteUpdateError(RuntimeError):
    """Several updates in a row were not finite, so none was applied and training stopped."""


class Interrupted(Exception):  # noqa: N818 -- not an error: the run is saved and can go on
    """Training stopped on request; the message says where the checkpoint is."""
