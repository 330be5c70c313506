"""Task families: a robot, the parameters that vary, a reward and a horizon."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from metarl_envs.distributions import within_any
from metarl_envs.errors import InputError, unknown_name
from metarl_envs.gym_worlds.worlds import ATTRIBUTE
from metarl_envs.inputs.naming import check_family_name
from metarl_envs.inputs.numbers import INT64, shown, tensor, whole
from metarl_envs.inputs.plain import PlainFields
from metarl_envs.parameters import EncoderError, Parameter, varied_fields
from metarl_envs.perturbations import Placement
from metarl_envs.robots.base import MujocoRobot, Transition
from metarl_envs.robots.kinds import Robot, check_robot
from metarl_envs.scene.markers import Marker
from metarl_envs.tasks import Tasks

Split = Literal["train", "test", "extrapolation"]
SPLITS: tuple[Split, ...] = ("train", "test", "extrapolation")
PLACES = ("body_pos", "geom_pos", "site_pos")
"""Model fields that say where something is, such as a target."""
SUCCESS = ("success", "is_success")
"""Names of quantities, as Gymnasium environments have them in `info`, that are 1 in a step in which
the task is solved, else 0. An episode succeeds if any of its steps does, as in Meta-World."""


@dataclass(frozen=True)
class Origin(PlainFields):
    """The Python file that a family was loaded from; it runs only if the user names it."""

    reference: str = ""
    """The name it was given: FILE.py:NAME."""
    sha256: str = ""
    """Of the file and its MJCF, without the files that they include."""


@dataclass(frozen=True, kw_only=True)
class TaskFamily(PlainFields):
    """Tasks that share robot, spaces and the form of the reward.

    Splits: `train`; `test`, the values that parameters hold out, or further draws from the same
    ranges (where those are finitely many, the same tasks: then nothing is held out, see
    `holds_out`); `extrapolation`, draws from
    outside the training ranges of every parameter that has such values, together.

    Reward and termination, like the robot's functions, depend on the tensors given to them alone:
    on a GPU their operations are captured once and replayed without Python.
    """

    name: str
    robot: Robot
    parameters: tuple[Parameter, ...]
    reward: Callable[[Transition], Tensor]  # -> (N,)
    horizon: int
    """Steps per episode; the episode is truncated there."""
    source: str = ""
    """Source of the definition, the exact formula, and the differences from it."""
    terminated: Callable[[Transition], Tensor] | None = None  # None: the robot's own rule
    quantity: str = ""
    """The robot's physical quantity that shows what the return means, of an episode its mean over
    the steps; one of `SUCCESS` counts successful episodes. "": the robot's first one."""
    observes_task: bool = False
    """True if observations end with the task's features, for oracles; the values of parameters
    that every policy observes (`Parameter.observed`) come before them."""
    markers: tuple[Marker, ...] | None = None
    """Markers of the task in pictures; None: one for every goal in metres that has two or three
    numbers, or is named "goal"; (): nothing."""
    origin: Origin = Origin()
    """The file that defines it; of a shipped family, none."""

    def __post_init__(self) -> None:
        check_family_name(self.name)
        for i, given in enumerate(self.parameters):
            if not isinstance(given, Parameter):
                raise InputError(
                    f"parameters[{i}] of {self.name} = {shown(given)}: must be a Parameter, as "
                    "those of metarl_envs.vary are"
                )
        check_robot(self.robot)
        for name, function in (("reward", self.reward), ("terminated", self.termination)):
            if not callable(function):
                raise InputError(
                    f"{name} of {self.name} = {shown(function)}: must be a function of a Transition"
                )
        names = [parameter.name for parameter in self.parameters]
        if not names or len(set(names)) < len(names):
            raise InputError(
                f"parameters of {self.name}: names must be unique, at least one: {names}"
            )
        whole(f"horizon of {self.name}", self.horizon, least=1, most=INT64)
        physical = [p for p in self.parameters if p.model_effect]
        if physical and not self.robot.has_model and self.robot.source is None:
            raise InputError(
                f"{self.name}: {self.robot.name} has no physical model, so its parameters must be "
                f"goals, delays, noise or bias; these change one: {[p.name for p in physical]}"
            )
        if not self.quantity and self.robot.quantities:
            object.__setattr__(self, "quantity", next(iter(self.robot.quantities)))
        if self.quantity not in self.robot.quantities:
            raise unknown_name(
                f"quantity of {self.robot.name}", self.quantity, self.robot.quantities
            )

        self._check_markers()

    def _check_markers(self) -> None:
        nominal = self.nominal_tasks().describe(0)
        for marker in self.markers or ():
            if not isinstance(marker, Marker):
                raise InputError(
                    f"markers of {self.name}: {shown(marker)} must be a metarl_envs.Marker, such "
                    'as Marker("goal")'
                )
            if marker.parameter not in nominal:
                raise unknown_name(
                    f"parameter of a marker of {self.name}", marker.parameter, nominal
                )
            marker.check(nominal)
            if not marker.site:
                continue
            if not self.robot.has_model:
                raise InputError(
                    f"site '{marker.site}' of a marker of {self.name}: {self.robot.name} has no "
                    "MuJoCo model; leave it out, and a marker is drawn"
                )
            model = self.robot.load_model()
            sites = [name for i in range(model.nsite) if (name := model.site(i).name)]
            if marker.site not in sites:
                raise unknown_name(f"site of a marker of {self.name}", marker.site, sites)

    @property
    def shown_markers(self) -> tuple[Marker, ...]:
        """The markers of pictures: those given, or those that the goals suggest."""
        if self.markers is not None:
            return self.markers
        return tuple(
            Marker(p.name)
            for p in self.parameters
            if p.effect is None and p.shape in ((2,), (3,)) and (p.unit == "m" or p.name == "goal")
        )

    @property
    def reference(self) -> str:
        """The family's name on a command line: its name, or FILE.py:NAME."""
        return self.origin.reference or self.name

    @property
    def observation_size(self) -> int:
        """O."""
        return self.robot.observation_size + self.observed_task(self.nominal_tasks()).shape[1]

    @property
    def termination(self) -> Callable[[Transition], Tensor]:
        """The rule that ends an episode."""
        return self.terminated or self.robot.terminated

    def action_bounds(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest control, each (A,) float64."""
        return self.robot.action_bounds()

    def action_middle(self) -> tuple[float, ...] | None:
        """The controls (A,) that a policy's output 0 means; None: the middle between the bounds."""
        return self.robot.action_middle

    def middle_action(self) -> Tensor:
        """The same controls as numbers, (A,) float64, whether or not they are named."""
        low, high = self.action_bounds()
        middle = self.action_middle()
        return (low + high) / 2 if middle is None else torch.tensor(middle, dtype=torch.float64)

    @property
    def dt_s(self) -> float:
        """Seconds per control step."""
        return self.robot.dt_s

    @property
    def is_finite(self) -> bool:
        """True if training has finitely many tasks."""
        return all(parameter.train.finite for parameter in self.parameters)

    @property
    def holds_out(self) -> bool:
        """True if the tasks of `test` are others than those of `train`."""
        return not self.is_finite or any(p.held_out is not None for p in self.parameters)

    @property
    def measures_success(self) -> bool:
        """True if the quantity is a flag of success, see `SUCCESS`."""
        return self.quantity in SUCCESS

    @property
    def reward_may_tell(self) -> bool:
        """True if the reward may show a hidden parameter that the robot's motion does not.

        A goal, also one that begins with where things are at the start, and what the reward alone
        may be about: an attribute of a Gymnasium environment, an error of the encoders, by which
        the robot sees itself move, or the place of something, where
        there is more to read than the joints' state. Any other change of the robot shows in its
        motion.
        """
        hidden = [p for p in self.parameters if not p.observed]
        fields = varied_fields(hidden)
        goals = any(
            p.effect is None or isinstance(p.effect, EncoderError | Placement) for p in hidden
        )
        joints_only = isinstance(self.robot, MujocoRobot) and not self.robot.outputs
        places = () if joints_only else PLACES
        return goals or any(name.startswith(ATTRIBUTE) or name in places for name in fields)

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that this family has."""
        extrapolates = any(p.extrapolation is not None for p in self.parameters)
        return SPLITS if extrapolates else SPLITS[:2]

    def sample_tasks(self, n: int, generator: Generator, split: Split) -> Tasks:
        """n tasks: a pure function of (n, generator state, split).

        Each split draws from a random stream of its own, so `train` and `test` differ even from
        equal generators.

        Raises:
            InputError: for n < 1 or a split that the family does not have.
        """
        n = whole("number of tasks", n, least=1)
        if split not in self.splits:
            raise InputError(
                f"split '{split}' of {self.name}: allowed are {', '.join(self.splits)}"
            )
        root = int(torch.randint(2**60, (), generator=generator, device=generator.device))
        stream = Generator().manual_seed(3 * root + SPLITS.index(split))
        values = {}
        for parameter in self.parameters:
            own = {"test": parameter.held_out, "extrapolation": parameter.extrapolation}
            distribution = own.get(split) or parameter.train
            values[parameter.name] = distribution.sample(n, parameter.shape, stream)
        return Tasks(values)

    def task_features(self, tasks: Tasks) -> Tensor:
        """Tasks as a network reads them, every parameter normalised to its training range: (M, F).

        Tasks of `extrapolation` lie outside [-1, 1]; see `Distribution.normalised` for choices.
        """
        return torch.cat([p.train.normalised(tasks.values[p.name]) for p in self.parameters], dim=1)

    def observed_task(self, tasks: Tasks) -> Tensor:
        """The part of the observation that shows the task, at its end: (M, F).

        The values of observed parameters, each in its own unit; then the features of all of them,
        if the family `observes_task`.
        """
        values = [tasks.values[p.name] for p in self.parameters if p.observed]
        columns = [value.reshape(len(tasks), -1) for value in values]
        if self.observes_task:
            columns.append(self.task_features(tasks))
        return torch.cat([torch.zeros(len(tasks), 0, dtype=torch.float64), *columns], dim=1)

    def kinds_of(self, tasks: Tasks) -> list[str]:
        """Name of each task's kind, such as the class of Meta-World; [] for tasks of one kind."""
        named = (p.train.kinds_of(tasks.values[p.name]) for p in self.parameters)
        return next(filter(None, named), [])

    def nominal_tasks(self, n: int = 1) -> Tasks:
        """n copies of the nominal task."""
        n = whole("number of tasks", n, least=1)
        return Tasks(
            {
                p.name: torch.tensor(p.nominal, dtype=torch.float64).expand(n, *p.shape).clone()
                for p in self.parameters
            }
        )

    def make_task(self, values: Mapping[str, float | Sequence[float]]) -> Tasks:
        """One task from named values; parameters not named are nominal.

        A single number given for a vector parameter holds for all its entries.

        Raises:
            InputError: for an unknown name, a wrong length, or a value outside every range.
        """
        tasks = dict(self.nominal_tasks().values)
        if not isinstance(values, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(
                f"task of {self.name} = {shown(values)}: must name parameters, such as "
                f"{self.nominal_tasks().describe(0)}"
            )
        for name, value in values.items():
            if name not in tasks:
                raise unknown_name(f"task parameter of {self.name}", name, tasks)
            shape = tasks[name].shape[1:]
            try:
                given = tensor(name, value)
            except InputError as error:
                allowed = self._parameter(name).describe_range()
                raise InputError(f"{error}, allowed is {allowed}") from None
            if given.numel() not in (1, shape.numel()):
                raise InputError(
                    f"{name} = {value}: {self.name} takes {shape.numel()} numbers, "
                    f"got {given.numel()}"
                )
            tasks[name] = given.expand(1, *shape) if given.dim() == 0 else given.reshape(1, *shape)
        made = Tasks(tasks)
        self.check_tasks(made)
        return made

    def _parameter(self, name: str) -> Parameter:
        return next(parameter for parameter in self.parameters if parameter.name == name)

    def check_tasks(self, tasks: Tasks) -> None:
        """Refuse tasks with wrong names, shapes, or values outside every range.

        Raises:
            InputError: naming parameter, value and allowed range.
        """
        expected = {parameter.name for parameter in self.parameters}
        for name in tasks.values:
            if name not in expected:
                raise unknown_name(f"task parameter of {self.name}", name, expected)
        for parameter in self.parameters:
            if parameter.name not in tasks.values:
                raise InputError(f"{self.name}: task parameter '{parameter.name}' is missing")
            value = tasks.values[parameter.name]
            if tuple(value.shape[1:]) != parameter.shape:
                raise InputError(
                    f"{parameter.name} has shape {tuple(value.shape[1:])} per task, "
                    f"{self.name} takes {parameter.shape}"
                )
            nominal = torch.tensor(parameter.nominal, dtype=torch.float64)
            allowed = within_any(parameter.supports, value) | (value == nominal)
            bad = ~allowed.reshape(len(value), -1).all(dim=1)
            if bad.any():
                raise InputError(
                    f"{parameter.name} = {value[bad][0].tolist()}: allowed in {self.name} is "
                    f"{parameter.describe_range()}"
                )
