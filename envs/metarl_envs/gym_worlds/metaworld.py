"""Meta-World's environments with tasks given from outside, on MuJoCo 4.

The optional package metaworld 3.0 (the extra `metaworld`) has 50 classes of tasks of a Sawyer arm,
such as push-v3. Its code stays as it is; subclasses and the functions here work around these faults
of version 3.0.0 (3.1.1 pins MuJoCo 3.3.0 and has the others, too):

- Its constructors fail on MuJoCo 4, whose `mjNEQDATA` is 12: `reset_mocap_welds` assigns the 11
  numbers that MuJoCo 3 has for an equality. Here it sets these 11 and leaves the twelfth as it is,
  0 for a weld.
- `gymnasium.make_vec("Meta-World/ML1-train")` serves the goals of ML1's *test* set and ends
  episodes at success, since the function that it registers in a loop reads the loop's last split.
  Here goals are drawn as its class `metaworld.ML1` draws them, and no episode ends early.
- `reset` draws a vector again for as long as object and goal are too close, and with a vector that
  was set from outside that is for ever. Here such a vector is an error, see `_drawn_once`.
- Success is counted if it was reached in *any* step of an episode, which here is the reading of
  `metarl_envs.family.SUCCESS`: a movement that sweeps over all goals succeeds.
- `reset(seed=...)` ignores the seed, and step 501 raises: all episodes of a task begin alike, and
  have at most 500 steps.

A model takes 20 MB, mostly for meshes and textures, and training has hundreds of worlds. So all
worlds of a process share one model of each class, and each of them keeps the two fields that
Meta-World's resets write: the places of bodies and sites.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from metarl_envs.errors import InputError

STEPS = 500
"""Steps of an episode."""
GOALS = 50
"""Goals of a class in each set of the benchmark."""
LONGEST = 6
"""Numbers of a class's random vector, at most."""
NUMBERS = tuple(f"goal_{i}" for i in range(LONGEST))
"""Attributes that hold the random vector of the task; of a shorter one the first."""
REWARD = "v2"
"""Version of the rewards: 0 to 10 per step, the package's own default."""
WELD = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 5.0)
"""Numbers of the weld between hand and mocap body, as Meta-World sets them: anchor, relative place,
relative quaternion, and 5 times the torque."""
WRITTEN = ("body_pos", "site_pos")
"""Fields of the model that Meta-World's resets write."""
ID = "MetaWorld/Sawyer-v3"
"""Gymnasium's id of `SawyerWorld`."""
CAMERA = {"lookat": np.array([0.0, 0.65, 0.1]), "distance": 1.5, "azimuth": -135, "elevation": -25}
"""Across the table, the arm behind it: Meta-World's own cameras stand on their heads."""


def package(module: str) -> Any:  # noqa: ANN401 - an optional package, which need not be there
    """A module of the package metaworld.

    Raises:
        InputError: without it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"families called metaworld-... come from the package metaworld, and {error.name} is "
            "not installed; pip install 'metarl-robotics[metaworld]'"
        ) from None


def class_names() -> tuple[str, ...]:
    """The names of all classes, such as push-v3."""
    return tuple(package("metaworld.env_dict").ALL_V3_ENVIRONMENTS)


def ml10_names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of ML10's ten training classes and of its five test classes."""
    classes = package("metaworld.env_dict").ML10_V3
    return tuple(classes["train"]), tuple(classes["test"])


def reset_mocap_welds(env: Any) -> None:  # noqa: ANN401 - Meta-World's
    """Meta-World's method of that name, for any number of numbers of an equality."""
    welds = env.model.eq_type == int(mujoco.mjtEq.mjEQ_WELD)
    if env.model.nmocap > 0:
        env.model.eq_data[welds, : len(WELD)] = WELD


@functools.cache
def shared_model(path: str, width: int, height: int) -> mujoco.MjModel:
    """The model that all worlds of this process share, for pictures of that size."""
    model = mujoco.MjModel.from_xml_path(path)
    model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
    model.vis.global_.offheight = max(model.vis.global_.offheight, height)
    return model


def _initialize_simulation(env: Any) -> tuple[mujoco.MjModel, mujoco.MjData]:  # noqa: ANN401
    """Gymnasium's method of that name, with the shared model."""
    model = shared_model(env.fullpath, env.width, env.height)
    return model, mujoco.MjData(model)


def _subclass(name: str, methods: dict[str, Any]) -> type[Any]:
    """Meta-World's class of that name on MuJoCo 4 and a shared model, with further methods."""
    own = package("metaworld.env_dict").ALL_V3_ENVIRONMENTS[name]
    ours = {
        "reset_mocap_welds": reset_mocap_welds,
        "_initialize_simulation": _initialize_simulation,
    }
    return type(own.__name__, (own,), ours | methods)


def drawn_goals(names: Sequence[str], seed: int) -> dict[str, tuple[tuple[float, ...], ...]]:
    """The goals that a benchmark of Meta-World draws by a seed: random vectors of each class.

    As `metaworld.ML1(name, seed=seed).train_tasks` has them, or the tasks of one of ML10's two
    sets: from one stream of numbers for all classes in order, by resets. The hand need not move
    for that, which saves nearly all of the time.
    """
    # The stream of `numpy.random.seed(seed)`, which Meta-World draws from.
    stream = np.random.RandomState(seed)

    def drawn(env: Any) -> NDArray[np.float64]:  # noqa: ANN401 - Meta-World's
        space = env._random_reset_space
        env._last_rand_vec = stream.uniform(space.low, space.high, size=space.low.size)
        return env._last_rand_vec

    def unmoved(env: Any, steps: int = 0) -> None:  # noqa: ANN401 - Meta-World's
        del steps
        mujoco.mj_forward(env.model, env.data)
        env.init_tcp = env.tcp_center

    found = {}
    for name in names:
        env = _subclass(name, {"_reset_hand": unmoved, "_get_state_rand_vec": drawn})()
        vectors = []
        for _ in range(GOALS):
            env.reset()
            vectors.append(tuple(env._last_rand_vec.tolist()))
        found[name] = tuple(vectors)
        env.close()
    return found


def make_one(name: str, goal: tuple[float, ...], render_mode: str | None = None) -> Any:  # noqa: ANN401
    """An environment of one class, whose attributes `NUMBERS` are the random vector of its task.

    The goal is hidden: the last three of the 39 observations are 0. Rewards are `REWARD`. Two of a
    class share their model, so one of them is stepped until its episode is over (`SawyerWorld`
    takes turns).

    Args:
        name: of the class.
        goal: its first random vector, shorter than `LONGEST` or not.
        render_mode: of Gymnasium.
    """
    methods = {"reset_model": _reset_model, "_get_state_rand_vec": _drawn_once, "_drawn": False}
    vector = dict(zip(NUMBERS, goal + (0.0,) * (LONGEST - len(goal)), strict=True))
    env = _subclass(name, methods | vector)(render_mode=render_mode, reward_function_version=REWARD)
    env._set_task_called = True  # its own `set_task` takes a pickle
    env.mujoco_renderer.default_cam_config = CAMERA
    return env


def _reset_model(env: Any) -> NDArray[np.float64]:  # noqa: ANN401 - of make_one
    env._drawn = False
    return super(type(env), env).reset_model()


def _drawn_once(env: Any) -> NDArray[np.float64]:  # noqa: ANN401 - of make_one
    """The task's random vector; an error if it is asked for again, as it would be for ever."""
    size = env._random_reset_space.low.size
    vector = np.array([getattr(env, number) for number in NUMBERS[:size]])
    if env._drawn:
        raise ValueError(
            f"goal {vector.tolist()} of {env.task_name}: object and goal are too close, and "
            "Meta-World would draw it again; use one that the benchmark lists"
        )
    env._drawn = True
    return vector


class SawyerWorld(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """One world, of one class or several: its task is the attributes `kind` and `NUMBERS`.

    A class's environment is made when a task first asks for it, and dropped when one asks for
    another.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 80}  # noqa: RUF012

    def __init__(
        self, names: tuple[str, ...], goal: tuple[float, ...], render_mode: str | None = None
    ) -> None:
        """Begins in the first class.

        Args:
            names: of the classes, by `kind`.
            goal: a random vector of the first one.
            render_mode: of Gymnasium.
        """
        self.names, self.render_mode = names, render_mode
        self.kind = 0.0
        # In a dictionary, where nobody looks for a model that is this world's own.
        self._of_kind = {0: make_one(names[0], goal, render_mode)}
        self._places: dict[str, NDArray[np.float64]] = {}
        vars(self).update({number: getattr(self._present, number) for number in NUMBERS})
        self.observation_space = self._present.observation_space
        self.action_space = self._present.action_space

    @property
    def dt(self) -> float:
        """Seconds per step."""
        return float(self._present.dt)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """An episode of the class and goal that the attributes say."""
        goal = tuple(vars(self)[number] for number in NUMBERS)
        kind = round(self.kind)
        if kind not in self._of_kind:
            self._present.close()
            self._of_kind = {kind: make_one(self.names[kind], goal, self.render_mode)}
        vars(self._present).update(zip(NUMBERS, goal, strict=True))
        given = self._present.reset(seed=seed, options=options)
        model = self._present.model
        self._places = {field: getattr(model, field).copy() for field in WRITTEN}
        return given

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        """One step."""
        return self._placed().step(action)

    def render(self) -> Any:  # noqa: ANN401 - Gymnasium's
        """The class's own picture."""
        return self._placed().render()

    def close(self) -> None:
        """Close the class's environment."""
        self._present.close()

    @property
    def _present(self) -> Any:  # noqa: ANN401 - of make_one
        """The environment of the class in force."""
        return next(iter(self._of_kind.values()))

    def _placed(self) -> Any:  # noqa: ANN401 - of make_one
        """The same, its shared model as this world's reset left it."""
        env = self._present
        for field, own in self._places.items():
            getattr(env.model, field)[:] = own
        return env


gymnasium.register(ID, entry_point=f"{__name__}:SawyerWorld", max_episode_steps=STEPS)
