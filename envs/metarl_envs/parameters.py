"""Task parameters, and the model fields that the physical ones give every world."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from metarl_envs.distributions import Distribution, overlap
from metarl_envs.errors import InputError
from metarl_envs.inputs.naming import check_parameter_name
from metarl_envs.inputs.numbers import shown
from metarl_envs.inputs.plain import PlainFields
from metarl_envs.perturbations import EncoderOffset, Perturbation

Fields = Mapping[str, Tensor]
"""Model fields by name, each (N, *field shape), float64."""


@dataclass(frozen=True)
class ModelEffect(PlainFields):
    """The change that a parameter makes to the model: a pure function of model fields.

    `transform(fields, value)` receives the fields named in `fields`, each (N, *shape) and holding
    the template's values (or what the parameters before this one made of them), and the parameter
    (N, *parameter shape). It returns the changed fields. As every application starts from the
    template, scaling never compounds.
    """

    fields: tuple[str, ...]
    transform: Callable[[Fields, Tensor], Fields]


@dataclass(frozen=True)
class EncoderError(PlainFields):
    """The error of encoders that the policy and the robot's own servos both read."""

    servos: ModelEffect
    signals: EncoderOffset


Effect = ModelEffect | Perturbation | EncoderError
"""On the robot's physics, on its signals to and from the policy, or on both."""


@dataclass(frozen=True)
class Parameter(PlainFields):
    """One thing that varies between the tasks of a family.

    Without an `effect` it is a goal, read by the reward; with one it changes the robot.
    """

    name: str
    unit: str
    """SI unit, or "1" for a ratio or a choice."""
    description: str
    nominal: float | tuple[float, ...]
    """The value at which the plain, unmodified robot results (a goal's reference value)."""
    train: Distribution
    """Values of the split `train`, and of `test` unless that has its own."""
    extrapolation: Distribution | None = None
    """Values of the split `extrapolation`, outside the training range, whose end points they may
    touch; None if there are none."""
    held_out: Distribution | None = None
    """Values of the split `test`, none of them a training value, as public benchmarks list them;
    None: further draws from the training range."""
    effect: Effect | None = None
    observed: bool = False
    """True if the policy observes it: observations then end with its value, in its own unit. A
    parameter that is not observed has to be inferred by adapting."""

    def __post_init__(self) -> None:
        check_parameter_name(self.name)
        for split, given in (
            ("train", self.train),
            ("extrapolation", self.extrapolation),
            ("held_out", self.held_out),
        ):
            if not isinstance(given, Distribution) and (split == "train" or given is not None):
                raise InputError(
                    f"{split} of {self.name} = {shown(given)}: must be a distribution, such as "
                    "metarl_envs.distributions.interval(0.5, 2.0)"
                )
        if self.extrapolation is not None and overlap(self.train, self.extrapolation, self.shape):
            raise InputError(
                f"extrapolation of {self.name} = {self.extrapolation.describe()}: must be outside "
                f"of its training range {self.train.describe()}, so leave out what they share; end "
                "points may touch"
            )
        if self.held_out is not None and overlap(self.train, self.held_out, self.shape):
            raise InputError(
                f"held_out of {self.name} = {self.held_out.describe()}: shares values with its "
                f"training range {self.train.describe()}; leave those out"
            )

    @property
    def model_effect(self) -> ModelEffect | None:
        """Its effect on the model; None: none."""
        effect = self.effect.servos if isinstance(self.effect, EncoderError) else self.effect
        return effect if isinstance(effect, ModelEffect) else None

    @property
    def perturbation(self) -> Perturbation | None:
        """Its effect on the signals between policy and robot; None: none."""
        effect = self.effect.signals if isinstance(self.effect, EncoderError) else self.effect
        return effect if isinstance(effect, Perturbation) else None

    @property
    def shape(self) -> tuple[int, ...]:
        """() for a number, (d,) for a vector."""
        return (len(self.nominal),) if isinstance(self.nominal, tuple) else ()

    @property
    def supports(self) -> tuple[Distribution, ...]:
        """Everything that a task may ask for: training, test and extrapolation values."""
        given = (self.train, self.held_out, self.extrapolation)
        return tuple(distribution for distribution in given if distribution is not None)

    def describe_range(self) -> str:
        """The allowed values in words."""
        text = f"{self.train.describe()} (train)"
        if self.held_out is not None:
            text += f" or {self.held_out.describe()} (test)"
        if self.extrapolation is not None:
            text += f" or {self.extrapolation.describe()} (extrapolation)"
        return text


def model_fields(
    parameters: Sequence[Parameter], base: Fields, values: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Model fields of every world, from the template's `base` fields and N tasks.

    Args:
        parameters: the family's parameters; those without a `model_effect` change no field.
        base: the template's fields, without a leading axis.
        values: parameter values, (N,) or (N, d).

    Returns:
        Every varied field, (N, *field shape), float64.
    """
    n = len(next(iter(values.values())))
    fields = {name: field.expand(n, *field.shape) for name, field in base.items()}
    for parameter in parameters:
        if effect := parameter.model_effect:
            own = {name: fields[name] for name in effect.fields}
            fields |= effect.transform(own, values[parameter.name])
    return {name: field.contiguous() for name, field in fields.items()}


def varied_fields(parameters: Sequence[Parameter]) -> tuple[str, ...]:
    """The model fields that any parameter changes, in order and without repeats."""
    names = [n for p in parameters if p.model_effect for n in p.model_effect.fields]
    return tuple(dict.fromkeys(names))
