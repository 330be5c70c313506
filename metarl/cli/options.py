"""Settings of a run on the command line: `--set`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` texts by name; a value is JSON where it can be read so, else text.

    Raises:
        InputError: for a text without `=`.
    """
    from metarl_envs import InputError  # brings torch with it, which help does not need

    given: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--set {text}: must be NAME=VALUE, such as outer.clip=0.2")
        try:
            given[name] = json.loads(value)
        except ValueError:
            given[name] = value
    return given
