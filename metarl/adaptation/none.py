"""No adaptation, for policies that were trained without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from metarl.adaptation.base import Adaptation, Batch
from metarl.policies.params import Params


@dataclass(frozen=True)
class Unadapted(Adaptation):
    """phi = theta: the adaptation curve is flat up to the noise of the measured episodes."""

    moves_all_learned: ClassVar[bool] = False

    def step(self, params: Mapping[str, Tensor], batch: Batch, k: int) -> Params:
        return dict(params)
