"""The error for invalid user input."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Invalid user input. The message names the field, the value and how to fix it.

    It is one line, whatever names and texts are in it.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(" ".join(message.splitlines()))


def unknown_name(kind: str, name: object, known: Iterable[str]) -> InputError:
    """The error for an unknown name, with the nearest names that exist."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return InputError(f"unknown {kind} '{name}': {hint}")
