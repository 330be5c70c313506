"""The methods: named pairs of an adaptation and an outer update, with settings that work.

Each method is a recipe below; its code is in a few files. MAML-TRPO, for example:

    adaptation/gradient.py      the inner step, theta' = theta - alpha * gradient
    adaptation/losses.py        the loss that the step descends
    adaptation/inner_loop.py    K steps, each on fresh episodes, for all tasks at once
    outer/meta_gradient.py      episodes before and after the inner loop, and its derivative
    outer/trpo.py               the outer update: surrogate and Fisher products
    outer/trust_region.py       conjugate gradient and line search

A recipe changes a family's configuration (`methods/families.py`) only as its paper does. Where a
paper leaves the outer update open or to TRPO, methods with another adaptation than MAML's use PPO's
clipped surrogate. `experiments/compare_methods.py` compares all methods.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from metarl.adaptation.learned_optimizer import LearnedOptimizer
from metarl.adaptation.learned_rates import LayerRates, MetaSgd
from metarl.adaptation.proximal import ProximalStep
from metarl.adaptation.subset import ContextStep, HeadStep
from metarl.methods.config import TrainConfig, with_settings
from metarl.methods.in_episode import pearl, rl2, standardised, teacher_student, varibad
from metarl.methods.model_based import grbal, rebal
from metarl.outer.adam import Adam
from metarl.outer.cma_es import CmaEs
from metarl.outer.e_maml import EMaml
from metarl.outer.es import EvolutionStrategy
from metarl.outer.maml_pp import MamlPlusPlus
from metarl.outer.promp import ProMp
from metarl.outer.reptile import Reptile

Recipe = Callable[[TrainConfig], TrainConfig]


@dataclass(frozen=True)
class Method:
    """A meta-learning method or a baseline: inner loop, outer update, paper."""

    title: str
    """Name in text."""
    adapts: str
    """Inner loop: the adapted parameters, and the kind of step."""
    learns: str
    """Outer update of the meta-parameters; of a baseline, its training."""
    paper: str
    recipe: Recipe
    """From a family's configuration to the one with this method."""
    learns_nothing_on: tuple[str, ...] = ()
    """Shipped families on which no tried setting learned to adapt."""


def maml_trpo(config: TrainConfig) -> TrainConfig:
    """The family's recipe, unchanged."""
    return config


def fomaml_trpo(config: TrainConfig) -> TrainConfig:
    """MAML-TRPO without second derivatives."""
    return with_settings(config, {"inner.first_order": True})


def maml_adam(config: TrainConfig) -> TrainConfig:
    """One step of Adam on the surrogate: all ratios are 1, so it follows the policy gradient."""
    return dataclasses.replace(config, outer=Adam())


def promp(config: TrainConfig) -> TrainConfig:
    """One pass over the data at twice the usual rate; observations standardised as in Meta-SGD.

    With raw observations and the usual rate (`--policy.normalize-observations False
    --outer.learning-rate 0.001`) half-cheetah-direction learns faster at first, but returns 217
    after 24 million steps; with these settings 250 (seed 0).
    """
    outer = ProMp(learning_rate=2e-3)
    return dataclasses.replace(standardised(config), inner_loss="ratio", outer=outer)


def e_maml(config: TrainConfig) -> TrainConfig:
    """ProMP's outer step, the log-likelihood as inner loss, and credit for exploration."""
    return dataclasses.replace(config, outer=EMaml())


PATIENT: dict[str, Any] = {"epochs": 3, "adaptation_lr": 2e-3, "final_rate": 0.0}
"""Three passes over the data, for adaptations with meta-parameters of their own, at a learning rate
that decays to 0 so that the final policy has converged. At constant rates the learned step sizes
keep growing: three Meta-SGD runs on a boat rewarded for speed fell in the last 40 of 200 iterations
from returns of 197, 181 and 179 on validation tasks to 170, 169 and 151. With the decay, two of the
three end at their best, 202 and 187, and one at 166 after 184. Runs of a few dozen iterations learn
faster with `--outer.final-rate 1`."""


def meta_sgd(config: TrainConfig) -> TrainConfig:
    """A learned rate for every weight; Adam updates the rates together with the weights."""
    config = standardised(config)
    return dataclasses.replace(config, inner_loss="ratio", inner=MetaSgd(), outer=ProMp(**PATIENT))


def maml_plus_plus(config: TrainConfig) -> TrainConfig:
    """Two steps with separate rates; both losses count during the first third of training."""
    return dataclasses.replace(
        config,
        adaptation_steps=2,
        inner_loss="ratio",
        inner=LayerRates(steps=2, first_order_until=0.1),
        outer=MamlPlusPlus(**PATIENT),
    )


def anil(config: TrainConfig) -> TrainConfig:
    """The last layer and the exploration noise adapt, by steps ten times as large as MAML's.

    Fewer weights move, so steps must be larger: on half-cheetah-direction after 1.2 million steps a
    rate of 0.1 gained 3, 0.3 gained 57, 1 gained 72 and 3 gained 56 (seed 0, raw observations).
    """
    inner = HeadStep(inner_lr=1.0)
    return dataclasses.replace(config, inner_loss="ratio", inner=inner, outer=ProMp(**PATIENT))


def cavia(config: TrainConfig) -> TrainConfig:
    """Five context parameters adapt, at the paper's rate of 1.

    It learns on navigation. On half-cheetahs, rates of 1, 10 and 50 (direction, dynamics; 1.2
    million steps) and 1 (payload and velocity; 0.8 million) gained nothing over parameters adapted
    to another task; the context-vector policy of the MAML paper failed there too.
    """
    policy = dataclasses.replace(config.policy, context_size=5)
    inner = ContextStep()
    return dataclasses.replace(
        config, policy=policy, inner_loss="ratio", inner=inner, outer=ProMp(**PATIENT)
    )


def imaml(config: TrainConfig) -> TrainConfig:
    """The quadratic term weighs as much as MAML's step size of 0.1; one step of Adam.

    The inner loss is -log pi A, because likelihood ratios and their gradients vanish two standard
    deviations from the behaviour policy. With ratios and `PATIENT`, navigation returned -17 after
    one step; with these settings -14 (`experiments.compare_methods`).
    """
    return dataclasses.replace(config, inner=ProximalStep(iterations=3), outer=Adam())


def learned_optimizer(config: TrainConfig) -> TrainConfig:
    """An LSTM computes the update; initially it is MAML's step."""
    return dataclasses.replace(
        config, inner_loss="ratio", inner=LearnedOptimizer(), outer=ProMp(**PATIENT)
    )


def reptile(config: TrainConfig) -> TrainConfig:
    """Two steps of six times MAML's size: with one step, Reptile is joint training.

    No derivative of the step makes the policy sensitive to it, so steps must be larger.
    """
    chosen = {"inner.first_order": True, "inner.inner_lr": 0.6, "adaptation_steps": 2}
    return dataclasses.replace(with_settings(config, chosen), outer=Reptile(outer_lr=2.5))


def es_maml(config: TrainConfig) -> TrainConfig:
    """The paper's linear policy, with few enough weights for 20 pairs of perturbations."""
    return dataclasses.replace(_linear(config, 40, 10), outer=EvolutionStrategy())


def cma_es(config: TrainConfig) -> TrainConfig:
    """ES-MAML's policy and inner step; 10 candidates on the same eight tasks."""
    return dataclasses.replace(_linear(config, 80, 5), outer=CmaEs())


def _linear(config: TrainConfig, meta_batch_size: int, episodes_per_task: int) -> TrainConfig:
    """A linear policy, small enough for a search, and first-order steps.

    Without hidden layers, which amplify a step, it is ten times MAML's: after 100 iterations of
    ES-MAML, navigation returned -17 after adaptation, with a rate of 0.1 -39 (learning rate 0.03).
    """
    chosen = {
        "policy.hidden_sizes": [],
        "inner.inner_lr": 1.0,
        "inner.first_order": True,
        "meta_batch_size": meta_batch_size,
        "episodes_per_task": episodes_per_task,
    }
    return with_settings(config, chosen)


GRADIENT_STEP = "all weights, by a policy-gradient step"
CLIPPED = "clipped surrogate, low-variance curvature, inner KL penalty"
MAML_PAPER = "Finn et al. 2017, arXiv:1703.03400"


METHODS: Mapping[str, Method] = {
    "maml-trpo": Method(
        "MAML-TRPO", GRADIENT_STEP, "TRPO through the step, second order", MAML_PAPER, maml_trpo
    ),
    "fomaml-trpo": Method(
        "FOMAML-TRPO", GRADIENT_STEP, "TRPO, first order", f"{MAML_PAPER}, section 5.2", fomaml_trpo
    ),
    "maml-adam": Method(
        "MAML-Adam",
        GRADIENT_STEP,
        "one step of Adam on the surrogate, second order",
        f"{MAML_PAPER}, Algorithm 3",
        maml_adam,
    ),
    "promp": Method(
        "ProMP", GRADIENT_STEP, CLIPPED, "Rothfuss et al. 2019, arXiv:1810.06784", promp
    ),
    "e-maml": Method(
        "E-MAML",
        GRADIENT_STEP,
        "clipped surrogate with credit for exploration",
        "Stadie et al. 2018, arXiv:1803.01118",
        e_maml,
    ),
    "meta-sgd": Method(
        "Meta-SGD",
        "all weights, by a policy-gradient step with a learned rate for each",
        CLIPPED,
        "Li et al. 2017, arXiv:1707.09835",
        meta_sgd,
    ),
    "maml++": Method(
        "MAML++",
        "all weights, by two policy-gradient steps with a learned rate per layer and step",
        "clipped surrogate after each step, weights annealed",
        "Antoniou et al. 2019, arXiv:1810.09502",
        maml_plus_plus,
    ),
    "anil": Method(
        "ANIL",
        "the last layer, by a policy-gradient step",
        CLIPPED,
        "Raghu et al. 2020, arXiv:1909.09157",
        anil,
    ),
    "cavia": Method(
        "CAVIA",
        "five context parameters, by a policy-gradient step",
        CLIPPED,
        "Zintgraf et al. 2019, arXiv:1810.03642",
        cavia,
        ("half-cheetah-direction", "half-cheetah-dynamics", "half-cheetah-payload-velocity"),
    ),
    "imaml": Method(
        "iMAML",
        "all weights, to the optimum of a proximal problem",
        "one step of Adam on the surrogate, implicit gradient",
        "Rajeswaran et al. 2019, arXiv:1909.04630",
        imaml,
    ),
    "learned-optimizer": Method(
        "Learned optimiser",
        "all weights, by an LSTM that reads each one's gradient",
        "clipped surrogate, first order, inner KL penalty",
        "Andrychowicz et al. 2016, arXiv:1606.04474; Ravi and Larochelle 2017",
        learned_optimizer,
    ),
    "reptile": Method(
        "Reptile",
        "all weights, by two large policy-gradient steps",
        "a move towards the adapted weights",
        "Nichol et al. 2018, arXiv:1803.02999",
        reptile,
    ),
    "es-maml": Method(
        "ES-MAML",
        GRADIENT_STEP,
        "evolution strategies on the return after adaptation",
        "Song et al. 2020, arXiv:1910.01215",
        es_maml,
        ("half-cheetah-payload-velocity",),
    ),
    "cma-es": Method(
        "CMA-ES",
        GRADIENT_STEP,
        "CMA-ES on the return after adaptation",
        "Hansen 2016, arXiv:1604.00772",
        cma_es,
        ("half-cheetah-payload-velocity",),
    ),
    "teacher-student": Method(
        "Teacher-student",
        "a memory, at every step",
        "PPO of a teacher that observes the task; imitation of it",
        "Kumar et al. 2021, arXiv:2107.04034",
        teacher_student,
    ),
    "rl2": Method(
        "RL^2",
        "a memory, at every step",
        "PPO over whole trials",
        "Duan et al. 2016, arXiv:1611.02779",
        rl2,
    ),
    "varibad": Method(
        "VariBAD",
        "a memory, at every step",
        "a belief by the evidence lower bound; PPO of what reads it",
        "Zintgraf et al. 2020, arXiv:1910.08348",
        varibad,
    ),
    "pearl": Method(
        "PEARL",
        "a latent context, at every step",
        "soft actor-critic, from a replay by task",
        "Rakelly et al. 2019, arXiv:1903.08254",
        pearl,
        ("navigation",),
    ),
    "grbal": Method(
        "GrBAL",
        "a dynamics model, by a gradient step at every step; a planner acts",
        "the model's error on other steps, second order",
        "Nagabandi et al. 2019, arXiv:1803.11347",
        grbal,
    ),
    "rebal": Method(
        "ReBAL",
        "a recurrent dynamics model, at every step; a planner acts",
        "the model's error on other steps",
        "Nagabandi et al. 2019, arXiv:1803.11347",
        rebal,
    ),
}
