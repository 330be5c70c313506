"""Fuzzed robots: MJCF, Python files of families, and Gymnasium environments that misbehave."""

from __future__ import annotations

import contextlib
import io
import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import gymnasium
import mujoco
import numpy as np
import torch
from gymnasium.envs.registration import register
from gymnasium.spaces import Box
from hypothesis import strategies as st
from torch import Generator

import metarl_envs
from experiments.faults.trying import Attempts, WrongOkError
from metarl_envs import (
    BatchEnv,
    InputError,
    TaskFamily,
    family_from_gym,
    gym_robot,
    load_family,
    mujoco_robot,
    vary,
)
from metarl_envs.robots.base import MujocoRobot

OWN = Path(__file__).parents[1] / "own_robot"
MODELS = sorted(
    [
        *(Path(metarl_envs.__file__).parent / "assets").glob("*.xml"),
        *OWN.glob("*.xml"),
        *(Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets").glob("*.xml"),
    ]
)
"""The shipped models: ours, those of the guides, and Gymnasium's."""
ODD = (
    "", " ", "0", "-1", "nan", "inf", "-inf", "1e308", "1e-320", "-0.0", "2147483648",
    "99999999999999999999", "1 2", "0 0 0", "0 0 0 0", "1 2 3 4 5 6 7 8 9 10 11 12", "abc", "true",
    "world", "torso", "*", "é", "../../etc/passwd", "0x10", "1,5",
)  # fmt: skip
"""Values of attributes that few people write on purpose."""
STEPS = 3
index = st.integers(0, 10**4)


@st.composite
def mjcf(draw: st.DrawFn) -> str:
    """The text of a shipped model with one to three changes."""
    text = draw(st.sampled_from(MODELS)).read_text()
    root = ElementTree.fromstring(text)
    for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
        change(root, draw(st.sampled_from(CHANGES)), draw(index), draw(index), draw(odd_value))
    text = ElementTree.tostring(root, encoding="unicode")
    if draw(st.integers(0, 9)) == 0:  # no XML any more
        at = draw(st.integers(0, len(text)))
        text = draw(st.sampled_from([text[:at], text[:at] + "<" + text[at:], text[at:]]))
    return text


odd_value = st.one_of(st.sampled_from(ODD), st.floats(width=32).map(str), st.text(max_size=5))
CHANGES = (
    *("scale",) * 6, "set", "set", "drop", "drop", "copy", "move", "remove", "remove", "rename",
    "swap",
)  # fmt: skip
FACTORS = (0.0, -1.0, 0.5, 2.0, 1e3, 1e-6, 1e9)


def change(root: ElementTree.Element, kind: str, i: int, j: int, value: str) -> None:
    """Change the model in place: the i-th element, its j-th attribute."""
    elements = list(root.iter())
    element = elements[i % len(elements)]
    names = sorted(element.attrib)
    name = names[j % len(names)] if names else "name"
    if kind == "set":
        element.set(name, "".join(letter for letter in value if letter.isprintable()))
    elif kind == "scale":
        words = element.get(name, "1").split() or ["1"]
        with contextlib.suppress(ValueError):
            words[i % len(words)] = str(float(words[i % len(words)]) * FACTORS[j % len(FACTORS)])
        element.set(name, " ".join(words))
    elif kind == "drop":
        element.attrib.pop(name, None)
    elif kind == "rename":
        others = sorted(elements[j % len(elements)].attrib)
        element.set(others[i % len(others)] if others else "size", element.attrib.pop(name, "1"))
    elif kind == "remove" and len(element):
        element.remove(element[j % len(element)])
    elif kind in ("copy", "move"):
        elements[j % len(elements)].append(ElementTree.fromstring(ElementTree.tostring(element)))
        if kind == "move" and len(element):
            element.remove(element[0])
    elif kind == "swap":
        element.tag = elements[j % len(elements)].tag


def use_model(text: str) -> None:
    """Make a robot and a family of a model, step it, and compare with MuJoCo's own steps."""
    path = Path("fuzzed.xml")
    path.write_text(text)
    robot = mujoco_robot(path, frame_skip=2, reset=0.0)
    parameters = [vary.goal("goal", (-1.0, 1.0), nominal=0.0)]
    try:
        parameters.append(vary.mass(robot, "*", (0.5, 2.0), name="masses"))
    except InputError as error:
        if "\n" in str(error):
            raise
    family = TaskFamily(
        name="fuzzed",
        robot=robot,
        parameters=tuple(parameters),
        reward=lambda t: -t.action.square().sum(dim=1),
        horizon=STEPS,
    )
    observed, diverged = stepped(family, family.nominal_tasks())
    if not diverged:
        compare(robot, observed, family.middle_action())
    stepped(family, family.sample_tasks(1, Generator().manual_seed(0), "train"))


def stepped(family: TaskFamily, tasks: metarl_envs.Tasks) -> tuple[np.ndarray, bool]:
    """The observation (O,) after a few steps with the middle action; whether they diverged.

    Raises:
        WrongOkError: for numbers that are not finite and not reported.
    """
    env = BatchEnv(family, 1, 2)
    env.set_tasks(tasks)
    env.reset(Generator().manual_seed(0))
    action = family.middle_action().expand(2, -1)
    diverged, last = torch.zeros(2, dtype=torch.bool), env.observation()
    for _ in range(STEPS):
        step = env.step(action)
        diverged |= step.diverged
        last = step.observations
        if not bool(torch.isfinite(last).all() and torch.isfinite(step.rewards).all()):
            raise WrongOkError("an observation or a reward is not finite, and not reported")
    if not bool(torch.equal(last[0], last[1]) or diverged.any()):
        raise WrongOkError("two equal worlds differ")
    return last[0].numpy(), bool(diverged.any())


def compare(robot: MujocoRobot, observed: np.ndarray, controls: torch.Tensor) -> None:
    """Refuse a state that MuJoCo itself does not come to.

    Raises:
        WrongOkError: for another one.
    """
    model = robot.load_model()
    data = mujoco.MjData(model)  # pyright: ignore[reportAttributeAccessIssue]
    qpos, qvel = robot.initial_state()
    data.qpos[:], data.qvel[:] = qpos.numpy(), qvel.numpy()
    mujoco.mj_forward(model, data)  # pyright: ignore[reportAttributeAccessIssue]
    data.ctrl[:] = controls.numpy()
    for _ in range(STEPS * robot.frame_skip):
        mujoco.mj_step(model, data)  # pyright: ignore[reportAttributeAccessIssue]
    expected = np.concatenate([data.qpos, data.qvel])
    if not np.allclose(observed, expected, rtol=1e-6, atol=1e-6):
        raise WrongOkError(f"differs from MuJoCo by {np.abs(observed - expected).max()}")


@st.composite
def family_file(draw: st.DrawFn) -> str:
    """A guide's family file with one to three tokens changed."""
    text = draw(st.sampled_from(sorted(OWN.glob("*.py")))).read_text()
    tokens = [
        (token.type, token.string) for token in tokenize.generate_tokens(io.StringIO(text).readline)
    ]
    words = [i for i, (_, word) in enumerate(tokens) if word.strip()]
    for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
        i, j = (words[draw(index) % len(words)] for _ in range(2))
        kind, word = tokens[i]
        if kind == tokenize.NUMBER:
            word = draw(st.sampled_from(NUMBERS))
        else:
            word = draw(st.sampled_from(["", word + " " + word, tokens[j][1], "None", "0"]))
        tokens[i] = (kind, word)
    return tokenize.untokenize(tokens)


NUMBERS = ("0", "-1", "0.5", "2", "3.0", "10", "1e-9",
           "1e308", "float('nan')", "float('inf')", "10**30", "'1'", "None", "[]", "1j",
           "(1, 2)", "True")  # fmt: skip


def use_family(text: str) -> None:
    """Load a family from a file, sample a task of each split, and step it."""
    for model in OWN.glob("*.xml"):
        Path(model.name).write_bytes(model.read_bytes())
    Path("fuzzed.py").write_text(text)
    family = load_family("fuzzed.py")
    for split in family.splits:
        tasks = family.sample_tasks(1, Generator().manual_seed(0), split)
        env = BatchEnv(family, 1, 2)
        env.set_tasks(tasks)
        env.reset(Generator().manual_seed(0))
        step = env.step(family.middle_action().expand(2, -1))
        if not bool(torch.isfinite(step.observations).all() and torch.isfinite(step.rewards).all()):
            raise WrongOkError("an observation or a reward is not finite, and not reported")


ID = "Misbehaving-v0"
GIVEN: dict[str, Any] = {
    "nan": float("nan"),
    "inf": float("inf"),
    "none": None,
    "text": "fast",
    "empty": np.zeros(0),
    "long": np.zeros(9),
    "table": np.zeros((2, 2)),
    "objects": np.array([None, {}], dtype=object),
    "complex": 1j,
    "huge": 10**400,
    "list": [[1.0], [2.0, 3.0]],
    "tensor": torch.ones(2, requires_grad=True),
    "dict": {"a": 1},
    "bytes": b"\x00\xff",
    "array": np.ones(1),
}
"""Values that it gives where others are right."""
RAISED: tuple[type[BaseException], ...] = (
    ValueError, RuntimeError, KeyError, SystemExit, ZeroDivisionError, AssertionError,
    NotImplementedError, RecursionError, StopIteration, MemoryError,
)  # fmt: skip


class Misbehaving(gymnasium.Env[Any, Any]):
    """A point mass with one bad habit at one moment."""

    metadata = {"render_modes": [], "render_fps": 10}  # noqa: RUF012 - Gymnasium's

    def __init__(self, where: str = "", what: Any = None, at: int = 0) -> None:  # noqa: ANN401
        self.observation_space: Any = Box(-9.0, 9.0, (2,))
        self.action_space: Any = Box(-1.0, 1.0, (1,))
        self.mass, self.calls, self.habit = 1.0, 0, (where, what, at)
        self.state = np.zeros(2)
        self._slip("init", None)
        self.observation_space = self._slip("observation space", self.observation_space)
        self.action_space = self._slip("action space", self.action_space)

    def _slip(self, where: str, right: Any) -> Any:  # noqa: ANN401
        """The right value, or the one that the habit makes of it at its moment."""
        habit, what, at = self.habit
        if where != habit or self.calls < at:
            return right
        if isinstance(what, int):
            raise RAISED[what % len(RAISED)]("of its own")
        return GIVEN[what]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:  # noqa: ANN401
        super().reset(seed=seed)
        self.calls += 1
        self.state = self.np_random.normal(size=2)
        if self.habit[0] == "changing spaces":
            self.observation_space = Box(-9.0, 9.0, (3,))
        first = self._slip("reset observation", self.state.astype(np.float32))
        return self._slip("reset", (first, self._slip("reset info", {})))

    def step(self, action: Any) -> Any:  # noqa: ANN401
        self.calls += 1
        self.state = self.state + 0.1 * np.array([self.state[1], action[0] / self.mass])
        row = (
            self._slip("observation", self.state.astype(np.float32)),
            self._slip("reward", -float(self.state[0] ** 2)),
            self._slip("terminated", False),
            self._slip("truncated", False),
            self._slip("info", {"speed": self._slip("info entry", self.state[1])}),
        )
        return self._slip("step", row)

    def close(self) -> None:
        self._slip("close", None)


PLACES = (
    "init", "observation space", "action space", "reset", "reset observation", "reset info", "step",
    "observation", "reward", "terminated", "truncated", "info", "info entry", "close",
    "changing spaces", "never ends",
)  # fmt: skip
habits = st.tuples(
    st.sampled_from(PLACES),
    st.one_of(st.sampled_from(sorted(GIVEN)), st.integers(0, len(RAISED) - 1)),
    st.integers(0, 6),
)
SURELY_WRONG = ("text", "none", "objects", "complex", "dict", "bytes")
"""Values that are right nowhere in a step's row."""


def use_environment(habit: Sequence[Any]) -> None:
    """Make a family of an environment with a habit, and step it."""
    if ID not in gymnasium.registry:
        register(ID, entry_point=f"{__name__}:Misbehaving", max_episode_steps=20)
    where, what, at = habit
    robot = gym_robot(ID, infos=("speed",), where=where, what=what, at=at)
    varied = [vary.attribute(robot, "mass", (0.5, 2.0))]
    family = family_from_gym(robot, varied, name="misbehaving", horizon=8)
    env = BatchEnv(family, 1, 2)
    env.set_tasks(family.sample_tasks(1, Generator().manual_seed(0), "train"))
    env.reset(Generator().manual_seed(0))
    truncated = torch.zeros(2, dtype=torch.bool)
    for _ in range(8):
        step = env.step(family.middle_action().expand(2, -1))
        truncated |= step.truncated
        if not bool(torch.isfinite(step.observations).all() and torch.isfinite(step.rewards).all()):
            raise WrongOkError("an observation or a reward is not finite, and not reported")
    if not bool(truncated.all()):
        raise WrongOkError("an episode goes on beyond the horizon")
    in_row = ("step", "observation", "reward", "terminated", "truncated", "info", "info entry")
    if where in in_row and (what in SURELY_WRONG or isinstance(what, int)):
        raise WrongOkError(f"{what} as {where} at call {at} was taken")


KINDS = {
    "MJCF": Attempts(mjcf(), use_model, apart=True),
    "family files": Attempts(family_file(), use_family, apart=True),
    "Gymnasium environments": Attempts(habits, use_environment),
}
