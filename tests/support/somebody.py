"""Environments that somebody else wrote, with one habit each; importing this registers them."""

from __future__ import annotations

import os
import sys
from decimal import Decimal
from typing import ClassVar

import gymnasium
import mujoco
import numpy as np
import torch
from gymnasium.spaces import Box

XML = """<mujoco><option timestep="0.004"/>
<worldbody><body name="pole" pos="0 0 1"><joint name="hinge" axis="0 1 0" damping="0.1"/>
<geom name="rod" type="capsule" fromto="0 0 0 0 0 -0.5" size="0.03" mass="1"/></body></worldbody>
<actuator><motor name="torque" joint="hinge" gear="5" ctrlrange="-1 1"/></actuator></mujoco>"""


class OddError(Exception):
    """Cannot be made from its message alone, as many people's exceptions."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")


class Point(gymnasium.Env):
    """A point on a line; its mass is a number of its class, `mark` one that its reward reads."""

    metadata: ClassVar = {"render_modes": [], "render_fps": 10}
    mass = 1.0

    def __init__(self, habit: str = "") -> None:
        self.observation_space = Box(-99, 99, (2,))
        self.action_space = Box(-1, 1, (1,))
        self.habit, self.mark = habit, 0.5
        if habit == "no space":
            del self.observation_space
        if habit == "whole action":
            self.action_space = Box(-5, 5, (1,), np.int64)
        if habit == "empty action":
            self.action_space = Box(-1, 1, (0,))
        if habit == "empty observation":
            self.observation_space = Box(-1, 1, (0,))
        if habit == "no metadata":
            self.metadata = None
        if habit == "made":
            raise OddError(3, "no licence\nbuy one")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.s = 0, self.np_random.normal(size=2)
        if self.habit == "reset":
            raise OddError(7, "no answer")
        if self.habit == "old reset":
            return self.s
        if self.habit == "long reset":
            return np.append(self.s, 0.0), {}
        if self.habit == "no info at reset":
            return self.s, None
        if self.habit == "sets anew":
            self.mass = 1.0
        return self.s.astype(np.float32), {}

    def step(self, action):
        self.t += 1
        self.s = self.s + 0.1 * np.array([self.s[1], action[0] / self.mass])
        observation, reward = self.s.astype(np.float32), -float((self.s[0] - self.mark) ** 2)
        info, end = {"speed": self.s[1]}, False
        match self.habit:
            case "limit" if self.t > 3:
                raise OddError(self.t, "maximum path length exceeded")
            case "exit" if self.t > 3:
                sys.exit("good bye")
            case "crash" if self.t > 3 and "spawn_main" in " ".join(sys.orig_argv):
                os._exit(3)
            case "nan" if self.t > 3:
                reward = np.nan
            case "long error":
                raise OddError(self.t, "word " * 1000)
            case "old step":
                return observation, reward, end, info
            case "nothing":
                return None
        wrapped = {
            "array": lambda r: np.array([r]),
            "0d": np.array,
            "f32": np.float32,
            "torch": lambda r: torch.tensor([[r]], requires_grad=True),
            "list": lambda r: [r],
            "int": lambda r: int(r > -1),
            "bool": lambda r: r > -1,
            "none": lambda r: None,
            "text": str,
            "two": lambda r: np.array([r, r]),
            "bfloat16": lambda r: torch.tensor(r, dtype=torch.bfloat16),
            "object": lambda r: np.array([None]),
            "objects": lambda r: np.array(r, dtype=object),
            "decimal": lambda r: Decimal(str(r)),
        }
        reward = wrapped.get(self.habit, lambda r: r)(reward)
        observation = {
            "short": observation[:1],
            "row": observation[None],
            "dict": {"o": observation},
            "object observation": np.array([None, 1.0]),
            "objects observed": observation.astype(object),
            "ragged": [[1.0], [1.0, 2.0]],
            "int observation": (10 * observation).astype(np.int64),
        }.get(self.habit, observation)
        end = {"end none": None, "end text": "no", "end int": 0, "end numpy": np.bool_(False)}.get(
            self.habit, end
        )
        info = {"no info": None, "info lacks": {"pace": 1.0}, "info row": {"speed": self.s}}.get(
            self.habit, info
        )
        return observation, reward, end, False, info

    def close(self):
        if self.habit == "close":
            raise OddError(9, "busy")


class Pole(gymnasium.Env):
    """A pole that MuJoCo simulates, as people write it who use mujoco directly."""

    def __init__(self, kept: str = "self") -> None:
        self.observation_space = Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = Box(-1, 1, (1,))
        self.kept = kept
        if kept != "at reset":
            self.build()

    def build(self) -> None:
        model = SHARED if self.kept == "shared" else mujoco.MjModel.from_xml_string(XML)
        data = mujoco.MjData(model)
        match self.kept:
            case "wrapped":  # as dm_control in shimmy
                self._env = Holder(
                    _physics=Holder(_data=Holder(_data=data, _model=Holder(m=model)))
                )
            case "odd names":
                self.world, self.state = model, data
            case "ghost":  # a second model that is not stepped
                self.model, self.data = model, data
                self.ghost = mujoco.MjData(mujoco.MjModel.from_xml_string(XML))
            case "twins":  # both are stepped
                self.left, self.right = data, mujoco.MjData(mujoco.MjModel.from_xml_string(XML))
            case "scratch":  # second data of one model, which is not stepped
                self.a_plan, self.sim = mujoco.MjData(model), data
            case "copied model":  # steps with another model than the data were made from
                self.data, self.model = data, mujoco.MjModel.from_xml_string(XML)
                model = self.model
            case _:
                self.model, self.data = model, data
        self._live = lambda: (model, data)

    def observe(self):
        _, data = self._live()
        return np.concatenate([data.qpos, data.qvel])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.kept in ("at reset", "rebuilt"):
            self.build()
        model, data = self._live()
        if self.kept != "warned":  # not everybody resets all of the data
            mujoco.mj_resetData(model, data)
        data.qpos[:] = self.np_random.uniform(-1, 1, 1)
        return self.observe(), {}

    def step(self, action):
        model, data = self._live()
        data.ctrl[:] = action
        mujoco.mj_step(model, data, 5)
        if self.kept == "twins":
            mujoco.mj_step(self.right.model, self.right, 5)
        return self.observe(), -float(data.qpos[0] ** 2), False, False, {}


class Holder:
    """Something that keeps things."""

    def __init__(self, **kept: object) -> None:
        vars(self).update(kept)


SHARED = mujoco.MjModel.from_xml_string(XML)

gymnasium.register("Somebody/Point-v0", entry_point=Point, max_episode_steps=20)
gymnasium.register("Somebody/Pole-v0", entry_point=Pole, max_episode_steps=20)
