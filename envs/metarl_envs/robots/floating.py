"""Place of a floating body in an observation."""

from __future__ import annotations

from typing import NamedTuple

from metarl_envs.errors import InputError


class Floating(NamedTuple):
    """Entries of an observation that show how a floating body is turned and moves.

    Such a body moves alike with any heading, which whoever predicts its motion can make use of.
    """

    quaternion: int
    """First of w, x, y and z."""
    velocity: int
    """First of the three of its velocity in the world's frame, behind the quaternion."""

    def check(self, robot: str, size: int) -> None:
        """Refuse what is not within an observation of so many entries.

        Raises:
            InputError: naming both places.
        """
        if not 0 <= self.quaternion <= self.velocity - 4 <= size - 7:
            raise InputError(
                f"floating of {robot} = {tuple(self)}: must be the first of the quaternion's 4 "
                "entries and, behind these, the first of the velocity's 3, all from 0 to "
                f"{size - 1}"
            )
