"""Outer loops: one file per update of meta-parameters, and per learner of another kind."""

from __future__ import annotations

from collections.abc import Mapping

from metarl.outer.adam import Adam
from metarl.outer.cma_es import CmaEs
from metarl.outer.e_maml import EMaml
from metarl.outer.es import EvolutionStrategy
from metarl.outer.learner import LearnerSettings
from metarl.outer.maml_pp import MamlPlusPlus
from metarl.outer.model_fit import ModelFit
from metarl.outer.pearl import Pearl
from metarl.outer.ppo import Ppo
from metarl.outer.promp import ProMp
from metarl.outer.reptile import Reptile
from metarl.outer.rl2 import Rl2
from metarl.outer.teacher_student import TeacherStudent
from metarl.outer.trpo import Trpo
from metarl.outer.varibad import Varibad

OUTER_UPDATES: Mapping[str, type[LearnerSettings]] = {
    "trpo": Trpo,
    "adam": Adam,
    "ppo": Ppo,
    "promp": ProMp,
    "e-maml": EMaml,
    "maml++": MamlPlusPlus,
    "reptile": Reptile,
    "es": EvolutionStrategy,
    "cma-es": CmaEs,
    "rl2": Rl2,
    "teacher-student": TeacherStudent,
    "varibad": Varibad,
    "pearl": Pearl,
    "model-fit": ModelFit,
}
"""Settings by the name that configurations give them; each makes its own learner."""
