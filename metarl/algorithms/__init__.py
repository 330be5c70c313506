"""Meta-objectives: how the meta-parameters learn from inner loops. One file per outer update."""

from __future__ import annotations

from collections.abc import Mapping

from metarl.algorithms.base import MetaObjective
from metarl.algorithms.cma_es import CmaEs
from metarl.algorithms.es import EvolutionStrategy
from metarl.algorithms.ppo import Ppo
from metarl.algorithms.reptile import Reptile
from metarl.algorithms.trpo import Trpo

META_OBJECTIVES: Mapping[str, type[MetaObjective]] = {
    "trpo": Trpo,
    "ppo": Ppo,
    "reptile": Reptile,
    "es": EvolutionStrategy,
    "cma-es": CmaEs,
}
"""By the name that configurations give them."""
