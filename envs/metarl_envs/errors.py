"""The error for values that a person gave and can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A wrong value from outside. The message names the field, the value and the mend."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> InputError:
    """The error for a misspelt name, or what is none, with the nearest names that exist."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return InputError(f"unknown {kind} '{name}': {hint}")
