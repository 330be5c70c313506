"""Adaptations: rules that turn a policy into an adapted one. One file per mechanism."""

from __future__ import annotations

from collections.abc import Mapping

from metarl.adaptation.adam_steps import AdamSteps
from metarl.adaptation.base import Adaptation
from metarl.adaptation.gradient import GradientStep
from metarl.adaptation.learned_optimizer import LearnedOptimizer
from metarl.adaptation.learned_rates import LayerRates, MetaSgd
from metarl.adaptation.none import Unadapted
from metarl.adaptation.proximal import ProximalStep
from metarl.adaptation.subset import ContextStep, HeadStep

ADAPTATIONS: Mapping[str, type[Adaptation]] = {
    "gradient": GradientStep,
    "meta-sgd": MetaSgd,
    "layer-rates": LayerRates,
    "head": HeadStep,
    "context": ContextStep,
    "proximal": ProximalStep,
    "learned-optimizer": LearnedOptimizer,
    "adam": AdamSteps,
    "none": Unadapted,
}
"""By the name that configurations give them."""
