"""Calls of a third-party Gymnasium environment, whose errors are reported as its own.

Whatever it raises, and whatever it gives that is not what Gymnasium's interface says, becomes one
line that names the environment, the call and how to fix it.
"""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import gymnasium
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from metarl_envs.errors import InputError
from metarl_envs.inputs.numbers import is_number, shown
from metarl_envs.inputs.user_functions import described, where

T = TypeVar("T")
RESET = "reset(seed=..., options=...) must return (observation, info)"
STEP = "step(action) must return (observation, reward, terminated, truncated, info)"
OWN = "this comes from the environment itself: fix it there"


def ask(call: str, fix: str, function: Callable[..., T], *args: Any, **how: Any) -> T:  # noqa: ANN401
    """Result of `function(*args, **how)` of third-party code; its errors become one line.

    Args:
        call: whose function it is and which, in words.
        fix: what to do about it.
        function: what is called.
        args: its own.
        how: its own.

    Raises:
        InputError: naming the call, its error and where it arose.
    """
    try:
        return function(*args, **how)
    except InputError:  # such as that of a family of ours behind the interface
        raise
    except (Exception, SystemExit) as error:  # third-party code may raise anything
        message = f"{call} failed: {described(error)}{where(error) or _entered(error)}; {fix}"
        raise InputError(message) from error


class Stepped(NamedTuple):
    """The result of one step, as plain values."""

    observation: NDArray[np.float64]  # of the space's shape; may be NaN or infinite
    reward: float
    """May be NaN or infinite."""
    terminated: bool
    truncated: bool
    info: Mapping[str, Any]


class AskedEnv:
    """A third-party `gymnasium.Env` that returns plain values or raises a one-line error."""

    def __init__(self, env: gymnasium.Env[Any, Any], name: str = "") -> None:
        """Takes the environment as it is.

        Args:
            env: with a Box of observations.
            name: in errors; "": its id, or its class.

        Raises:
            InputError: for one without spaces.
        """
        self.env = env
        self.name = name or env_name(env)
        self.observation_space, self.action_space = (
            ask(
                f"environment {self.name}: its {space}",
                f"it must set self.{space} when it is made",
                getattr,
                env,
                space,
            )
            for space in ("observation_space", "action_space")
        )
        self._steps = 0

    def reset(self, seed: int | None) -> NDArray[np.float64]:
        """The first observation of an episode.

        Raises:
            InputError: for what it raises, or does not return as Gymnasium has it.
        """
        call = f"environment {self.name}: reset"
        given = ask(call, f"{OWN}; {RESET}", self.env.reset, seed=seed)
        if not _is_row(given, 2) or not isinstance(given[1], Mapping):
            raise InputError(f"{call} gave {_kinds(given)}: {RESET}, where info is a dict")
        self._steps = 0
        return self._observation(call, given[0])

    def step(self, action: NDArray[Any]) -> Stepped:
        """One step.

        Raises:
            InputError: for what it raises, or does not return as Gymnasium has it.
        """
        self._steps += 1
        call = f"environment {self.name}: step {self._steps}"
        given = ask(call, self._step_fix(), self.env.step, action)
        if not _is_row(given, 5):
            old = "; four are the old Gym's: tell the two ends apart" if _is_row(given, 4) else ""
            raise InputError(f"{call} gave {_kinds(given)}: {STEP}{old}")
        observation, reward, terminated, truncated, info = given
        if not isinstance(info, Mapping):
            raise InputError(
                f"{call}: info = {shown(info)}: must be a dict, {{}} where it is empty"
            )
        return Stepped(
            self._observation(call, observation),
            number(f"{call}: reward", reward),
            _truth(f"{call}: terminated", terminated),
            _truth(f"{call}: truncated", truncated),
            info,
        )

    def close(self) -> None:
        """Close it.

        Raises:
            InputError: for what it raises.
        """
        ask(f"environment {self.name}: close", OWN, self.env.close)

    def infos(self, stepped: Stepped, keys: tuple[str, ...]) -> list[float]:
        """Numbers of a step's info.

        Raises:
            InputError: for one that is missing, or no number.
        """
        call = f"environment {self.name}: step {self._steps}"
        missing = [key for key in keys if key not in stepped.info]
        if missing:
            has = ", ".join(map(str, stepped.info)) or "nothing"
            raise InputError(
                f"{call}: info lacks {missing[0]!r}; it has: {has}; infos= of gym_robot may name "
                "what is there after every step"
            )
        return [number(f"{call}: info[{key!r}]", stepped.info[key]) for key in keys]

    def _step_fix(self) -> str:
        before = self._steps - 1
        if before == 0:
            return f"{OWN}; {STEP}"
        return (
            f"{OWN}; if it is a limit of its own on steps, let episodes end after {before} "
            "(the family's horizon=, or gymnasium.wrappers.TimeLimit)"
        )

    def _observation(self, call: str, given: Any) -> NDArray[np.float64]:  # noqa: ANN401
        found = _array(given)
        if found is None or found.shape != self.observation_space.shape:
            form = "" if found is None else f" of shape {found.shape}"
            raise InputError(
                f"{call}: observation of the environment = {shown(given)}{form}: must be numbers "
                f"of shape {self.observation_space.shape}, as its observation space says"
            )
        return found.astype(np.float64)


def env_name(env: gymnasium.Env[Any, Any]) -> str:
    """An environment's name in errors: its id, or its class if it has none."""
    spec = env.unwrapped.spec
    return type(env.unwrapped).__name__ if spec is None else spec.id


def number(what: str, given: Any) -> float:  # noqa: ANN401 - whatever an environment gives
    """A number, finite or not, from anything that holds a single one.

    Raises:
        InputError: for anything else, such as one number per world.
    """
    if isinstance(given, float):  # a shorter way for the usual type
        return float(given)
    found = _array(given)
    if found is None or found.size != 1:
        raise InputError(f"{what} of the environment = {shown(given)}: must be one number")
    return float(found.reshape(()))


def plain_array(given: Any) -> NDArray[Any]:  # noqa: ANN401 - whatever an environment gives
    """The value as NumPy has it, whatever its type; of a tensor without its gradient.

    Raises:
        ValueError: for rows of unequal length.
    """
    if isinstance(given, Tensor):
        given = given.detach().cpu()
        return (given.double() if given.is_floating_point() else given).numpy()
    found = np.asarray(given)
    if found.dtype == object and all(is_number(entry) for entry in found.flat):
        return found.astype(np.float64)
    return found


def _array(given: Any) -> NDArray[Any] | None:  # noqa: ANN401 - whatever an environment gives
    """Numbers or truth values as NumPy has them; None of anything else."""
    try:
        found = plain_array(given)
    except (TypeError, ValueError, RuntimeError):
        return None
    return found if found.dtype.kind in "biuf" else None


def _truth(what: str, given: Any) -> bool:  # noqa: ANN401 - whatever an environment gives
    if isinstance(given, bool):  # a shorter way for the usual type
        return given
    found = _array(given)
    if found is None or found.size != 1 or found.reshape(()) not in (0, 1):
        raise InputError(f"{what} of the environment = {shown(given)}: must be True or False")
    return bool(found.reshape(()))


def _is_row(given: Any, size: int) -> bool:  # noqa: ANN401 - whatever an environment gives
    return isinstance(given, tuple | list) and len(given) == size


def _kinds(given: Any) -> str:  # noqa: ANN401 - whatever an environment gives
    """The types of a value, such as "(ndarray, float, bool, dict)"."""
    if isinstance(given, tuple | list):
        return f"({', '.join(type(entry).__name__ for entry in given)})"
    return type(given).__name__


def _entered(error: BaseException) -> str:
    """The line at which an error entered an installed package other than Gymnasium and ours."""
    ours = str(Path(__file__).parents[1]), str(Path(gymnasium.__file__).parent)
    python, installed = (sysconfig.get_paths()[kind] for kind in ("stdlib", "purelib"))
    for frame in traceback.extract_tb(error.__traceback__):
        name = frame.filename
        if name.startswith((*ours, "<")) or (name.startswith(python) and installed not in name):
            continue
        return f" ({Path(name).name}, line {frame.lineno})"
    return ""
