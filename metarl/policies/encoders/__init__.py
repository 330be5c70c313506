"""Sequence encoders, one file each, by the name that configurations use."""

from __future__ import annotations

from collections.abc import Mapping

from metarl.policies.encoders.base import Encoder
from metarl.policies.encoders.gru import Gru

ENCODERS: Mapping[str, type[Encoder]] = {
    "gru": Gru,
}
