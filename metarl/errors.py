"""Errors that end a command, each with its own exit code in `metarl.cli`."""

from __future__ import annotations


class RunError(RuntimeError):
    """A run or policy folder that cannot be used. One line: path, problem, fix."""

    def __init__(self, message: str = "") -> None:
        super().__init__(" ".join(message.splitlines()))


class FaultError(RuntimeError):
    """Too many simulated worlds diverged in one iteration."""

    @classmethod
    def of(cls, share: float, iteration: int, most: float) -> FaultError:
        """Build the error for a share of an iteration's episodes; at most `most` is allowed."""
        return cls(
            f"{share:.0%} of the episodes of iteration {iteration} diverged, or gave a reward or "
            f"observation that is not finite (max_fault_share = {most:.0%}): find it with metarl "
            "check; fix the reward, narrow the family's parameter ranges, or raise the limit"
        )


class NonFiniteUpdateError(RuntimeError):
    """Several non-finite updates in a row: none was applied, and training stopped."""


class Interrupted(Exception):  # noqa: N818 -- not an error: the run is saved and can be resumed
    """Training stopped on request; the message names the checkpoint."""


class LostProcessError(RuntimeError):
    """Another process of this training has ended, or does not answer."""

    @classmethod
    def of(cls, processes: int, waited_s: float | None) -> LostProcessError:
        """Build the error.

        Args:
            processes: number of processes of the training.
            waited_s: for an answer, in vain; None: the process has ended.
        """
        met = "has ended" if waited_s is None else f"has not answered for {waited_s:g} s"
        return cls(
            f"another of the {processes} processes {met}: this iteration is lost; the same command "
            "by `torchrun --max-restarts 3`, or `metarl resume RUN`, goes on from the newest "
            "checkpoint"
        )
