"""Sequence encoders, one file each, by the name that configurations use."""

from __future__ import annotations

from collections.abc import Mapping

from metarl.policies.encoders.base import Encoder
from metarl.policies.encoders.gru import Gru
from metarl.policies.encoders.lstm import Lstm
from metarl.policies.encoders.scan import Scan
from metarl.policies.encoders.transformer import Transformer
from metarl.policies.encoders.window import Window

ENCODERS: Mapping[str, type[Encoder]] = {
    "gru": Gru,
    "lstm": Lstm,
    "scan": Scan,
    "transformer": Transformer,
    "window": Window,
}
