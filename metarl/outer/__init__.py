"""Meta-objectives: how the meta-parameters learn from inner loops. One file per outer update."""

from __future__ import annotations

from collections.abc import Mapping

from metarl.outer.base import MetaObjective
from metarl.outer.cma_es import CmaEs
from metarl.outer.es import EvolutionStrategy
from metarl.outer.ppo import Ppo
from metarl.outer.reptile import Reptile
from metarl.outer.trpo import Trpo

META_OBJECTIVES: Mapping[str, type[MetaObjective]] = {
    "trpo": Trpo,
    "ppo": Ppo,
    "reptile": Reptile,
    "es": EvolutionStrategy,
    "cma-es": CmaEs,
}
"""By the name that configurations give them."""
