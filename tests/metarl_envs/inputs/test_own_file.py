"""Environments that a person's own file, module or script registers, in worker processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Generator

from metarl_envs import (
    FAMILIES,
    BatchEnv,
    InputError,
    family_from_gym,
    gym_robot,
    load_family,
    vary,
)

ROOT = Path(__file__).resolve().parents[3]
CLASS = """
import gymnasium, numpy as np
class Own(gymnasium.Env):
    mass = 1.0
    def __init__(self):
        self.observation_space = gymnasium.spaces.Box(-9, 9, (2,))
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,))
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.s = self.np_random.normal(size=2)
        return self.s.astype(np.float32), {}
    def step(self, a):
        self.s[1] += 0.1 * a[0] / self.mass
        return self.s.astype(np.float32), -float(self.s[1] ** 2), False, False, {}
"""
REGISTER = "gymnasium.register('Tmp/Own-v0', entry_point=Own, max_episode_steps=30)\n"
FAMILY = """
from metarl_envs import family_from_gym, vary
family = family_from_gym(ID, lambda r: [vary.attribute(r, "mass", (0.5, 2.0))], name="tmp-own")
"""
WORK = """
import torch
from metarl_envs import BatchEnv, InputError
try:
    env = BatchEnv(family, 2, 1, sim_threads=2)
    env.reset(torch.Generator().manual_seed(0))
    print(env.step(torch.ones(2, 1)).rewards.tolist())
except InputError as error:
    print(error)
"""


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    from gymnasium import registry

    known, ids, modules = dict(FAMILIES), dict(registry), set(sys.modules)
    yield
    for table, kept in ((FAMILIES, known), (registry, ids)):
        table.clear()
        table.update(kept)
    for name in set(sys.modules) - modules:
        if name.startswith(("metarl_family_", "own_module")):
            del sys.modules[name]


def rewards(family, threads: int) -> torch.Tensor:
    env = BatchEnv(family, 2, 1, sim_threads=threads)
    env.set_tasks(family.sample_tasks(2, Generator().manual_seed(1), "train"))
    env.reset(Generator().manual_seed(0))
    return torch.stack([env.step(torch.ones(2, 1)).rewards.clone() for _ in range(3)])


@pytest.mark.slow
@pytest.mark.parametrize("beside", [False, True], ids=["in the file", "in a module beside it"])
def test_an_id_of_the_family_s_own_file_is_known_in_workers(tmp_path, beside):
    text = CLASS + REGISTER
    if beside:
        (tmp_path / "own_module.py").write_text(text)
        text = "import own_module\n"
    file = tmp_path / "own_env.py"
    file.write_text("ID = 'Tmp/Own-v0'\n" + text + FAMILY)
    family = load_family(f"{file}:family")
    assert torch.equal(rewards(family, 1), rewards(family, 2))


@pytest.mark.slow
def test_a_robot_of_an_id_that_a_file_registered_before_is_known_too(tmp_path):
    file = tmp_path / "own_env.py"
    file.write_text("ID = 'Tmp/Own-v0'\n" + CLASS + REGISTER + FAMILY)
    load_family(f"{file}:family")
    robot = gym_robot("Tmp/Own-v0")
    family = family_from_gym(robot, [vary.attribute(robot, "mass", (0.5, 2.0))])
    assert torch.equal(rewards(family, 1), rewards(family, 2))


@pytest.mark.slow
def test_module_and_id(tmp_path, monkeypatch):
    (tmp_path / "own_module.py").write_text(CLASS + REGISTER)
    monkeypatch.syspath_prepend(tmp_path)
    robot = gym_robot("own_module:Tmp/Own-v0")
    family = family_from_gym(robot, [vary.attribute(robot, "mass", (0.5, 2.0))])
    assert (family.name, family.horizon) == ("tmp-own-v0", 30)
    assert torch.equal(rewards(family, 1), rewards(family, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import gone_module\n", "importing own_module failed: ModuleNotFoundError: No module"),
        ("x = 1 / 0\n", r"importing own_module failed: ZeroDivisionError: .*\(own_module.py, line"),
        ("import sys; sys.exit(2)\n", r"importing own_module failed: SystemExit: 2 \(own_module.p"),
        ("x = 1\n", "making it failed: .*pprint_registry"),
        (None, "importing own_module failed: ModuleNotFoundError: .*must be installed"),
    ],
)
def test_a_module_that_cannot_be_imported_is_reported(tmp_path, monkeypatch, text, message):
    if text is not None:
        (tmp_path / "own_module.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    message = f"^environment own_module:Tmp/Own-v0: {message}"
    with pytest.raises(InputError, match=message) as caught:
        gym_robot("own_module:Tmp/Own-v0")
    assert "\n" not in str(caught.value)


GUARD = "if __name__ == '__main__':\n"


def indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "says"),
    [
        (CLASS + REGISTER + GUARD + indented(FAMILY + WORK), "[-"),
        (
            CLASS + GUARD + indented(REGISTER + FAMILY + WORK),
            "environment Tmp/Own-v0 is not registered in worker processes: register it at the top",
        ),
        (CLASS + REGISTER + FAMILY + WORK, "sim_threads = 2: worker processes of Tmp/Own-v0 did"),
    ],
    ids=["at the top", "under the guard", "without a guard"],
)
def test_a_script_of_ones_own(tmp_path, script, says):
    file = tmp_path / "script.py"
    file.write_text("ID = 'Tmp/Own-v0'\n" + script)
    path = os.pathsep.join([str(ROOT), str(ROOT / "envs")])
    done = subprocess.run(
        [sys.executable, file],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.startswith(says)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_functions_and_objects_of_the_file_reach_the_workers(tmp_path):
    (tmp_path / "own_module.py").write_text(
        CLASS.replace("__init__(self)", "__init__(self, pay, scale)")
        .replace(
            "self.observation_space", "self.pay, self.scale = pay, scale.value\n        self.obs", 1
        )
        .replace("self.obs =", "self.observation_space =")
        .replace("-float(self.s[1] ** 2)", "self.scale * self.pay(float(self.s[1]))")
        + REGISTER
        + "def cubed(x):\n    return x**3\n"
    )
    file = tmp_path / "own_env.py"
    file.write_text(
        "from own_module import cubed\nfrom metarl_envs import family_from_gym, gym_robot, vary\n"
        "class Scale:\n    value = 2.0\n"
        "robot = gym_robot('own_module:Tmp/Own-v0', pay=cubed, scale=Scale())\n"
        "family = family_from_gym(robot, [vary.attribute(robot, 'mass', (0.5, 2))], name='own')\n"
    )
    family = load_family(f"{file}:family")
    assert torch.equal(rewards(family, 1), rewards(family, 2))
    assert bool((rewards(family, 1) != 0).any())
