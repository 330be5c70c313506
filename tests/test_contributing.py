"""The worked examples of CONTRIBUTING.md: a method and a policy that train and adapt."""

import importlib
import importlib.util
import json
import math
import re
import sys
import tomllib
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

import metarl
from metarl.adaptation import ADAPTATIONS
from metarl.cli import main
from metarl.deploy import MetaPolicy, adapt_to_task
from metarl.methods import meta as methods
from metarl.methods.config import with_settings
from metarl.methods.families import recipe
from metarl.methods.setup import family_of, policy_of
from metarl.policies import POLICIES
from metarl.runs.checkpoint import SavedPolicy, create_run
from metarl.training.trainer import initial_state, train
from metarl_envs import InputError

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def block(containing: str) -> str:
    (found,) = [b for b in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if containing in b]
    return found


def written(path, name, source, monkeypatch):
    """A module of the page, imported from a file of its own: help reads the texts in it."""
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("package", ["metarl", "metarl_envs"])
def test_the_tables_of_packages_are_complete_and_in_the_order_of_imports(package):
    tables = PAGE.split("## Where things are")[1].split("\n`envs/metarl_envs/`")
    rows = re.findall(r"^\| (`.*?) \|", tables[package == "metarl_envs"], re.MULTILINE)
    shown = [name for row in rows for name in re.findall(r"`(\w+)/?`", row)]
    folder = Path(importlib.import_module(package).__file__).parent
    parts = [
        path
        for path in folder.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    ]
    assert sorted(shown) == sorted({path.stem for path in parts} - {"__init__", "__main__"})
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [c["layers"] for c in contracts["contracts"] if c.get("containers") == [package]]
    rank = {name: i for i, layer in enumerate(layers) for name in layer.split(" : ")}
    assert [rank[name] for name in shown] == sorted(rank[name] for name in shown)


def in_place(monkeypatch, path, package, source, registry, line, cls, recipe_of, method):
    """A file of the page with its registry line, recipe and method, as long as a test runs."""
    module = written(path, f"metarl.{package}.{path.stem}", block(source), monkeypatch)
    names = vars(methods) | {cls: vars(module)[cls]}
    exec("ENTRIES = {\n" + block(line) + "}", names)
    for name, made in names["ENTRIES"].items():
        monkeypatch.setitem(registry, name, made)
    exec(block(recipe_of), names)
    exec("ENTRIES = {\n" + block(method) + "}", names)
    for name, made in names["ENTRIES"].items():
        monkeypatch.setitem(methods.METHODS, name, made)
    return module


@pytest.fixture
def sign_sgd(monkeypatch, tmp_path):
    names = '"sign": SignStep', "SignStep", "def sign_sgd", '"sign-sgd": Method('
    path, source = tmp_path / "sign.py", "class SignStep"
    return in_place(monkeypatch, path, "adaptation", source, ADAPTATIONS, *names)


def test_the_examples_own_test_passes(sign_sgd):
    names = {}
    exec(block("def test_every_weight_moves"), names)
    names["test_every_weight_moves_by_the_distance_against_its_gradient"]()


def test_the_example_trains_and_adapts(sign_sgd, tmp_path):
    sizes = {"meta_batch_size": 4, "episodes_per_task": 5, "horizon": 8, "iterations": 2}
    config = with_settings(recipe("navigation", "sign-sgd"), {**sizes, "device": "cpu"})
    create_run(tmp_path / "run", config, ["metarl", "train"])
    start = initial_state(config)
    end = train(config, start, tmp_path / "run", quiet=True)
    assert end.refused == 0
    assert not torch.equal(start.params["weight_0"], end.params["weight_0"])
    assert metarl.load(tmp_path / "run").saved.config.inner == sign_sgd.SignStep()


def test_the_page_keeps_its_promise_of_one_short_file():
    for name in ("class SignStep", "class TracePolicy"):
        assert len(block(name).splitlines()) < 100


@pytest.fixture
def trace(monkeypatch, tmp_path):
    names = '"trace": TraceConfig', "TraceConfig", "def trace_promp", '"trace-promp": Method('
    path, source = tmp_path / "trace.py", "class TracePolicy"
    return in_place(monkeypatch, path, "policies", source, POLICIES, *names)


def test_the_policys_own_test_passes(trace):
    names = {}
    exec(block("def test_the_trace_averages"), names)
    names["test_the_trace_averages_actions_and_rewards"]()


def test_the_policy_goes_through_the_same_commands(trace, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sizes = ["--meta-batch-size", "4", "--episodes-per-task", "5", "--horizon", "8"]
    few = ["--sim-threads", "1", "--device", "cpu"]
    train = ["train", "navigation", "--method", "trace-promp", "--iterations", "2", "--run", "run"]
    assert main([*train, *sizes, *few, "--policy.keep", "0.5", "--quiet"]) == 0
    saved = metarl.load("run").saved
    assert saved.config.policy == trace.TraceConfig(
        keep=0.5, action_scale=saved.config.policy.action_scale
    )
    assert main(["evaluate", "run", "--tasks", "4", "--episodes", "5", *few]) == 0
    task = ["--task", "goal=0.3,0.1"]
    assert main(["adapt", "run", *task, "--episodes", "5", "--out", "adapted", *few]) == 0
    assert main(["record", "adapted", *task, "--out", "videos"]) == 0
    (film,) = (tmp_path / "videos").glob("*.json")
    assert json.loads(film.read_text())["task"] == {"goal": [0.3, 0.1]}


def test_the_policy_remembers_on_a_robot_as_in_simulation(trace):
    """One world at a time, in every way to adapt: the batched path's parameters and returns."""
    given = {"horizon": 30, "device": "cpu", "policy.init_std": 0.2}  # no action is cut
    config = with_settings(recipe("navigation", "trace-promp"), given)
    policy = policy_of(config)
    saved = SavedPolicy(policy, policy.init(torch.Generator().manual_seed(0)), config, {})
    goal = {"goal": (0.3, -0.2)}
    batched = adapt_to_task(saved, family_of(config).make_task(goal), episodes=4, seed=5)
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0")
    env.reset(options={"task": goal})
    uncapped = metarl.Limits(max_step_kl=math.inf)
    alone = MetaPolicy(saved).adapt(env, episodes=4, seed=5, limits=uncapped)
    session = metarl.AdaptationSession(MetaPolicy(saved), episodes=4, seed=5, limits=uncapped)
    while not session.ready:
        observation, over = env.reset()[0], False
        while not over:
            observation, reward, *ends, _ = env.step(session.act(observation))
            over = session.observe(reward, observation, *ends)
    logged = [
        {name: getattr(episode, name) for name in ("observations", "actions", "rewards")}
        for episode in alone.episodes
    ]
    from_log = metarl.adapt_from(MetaPolicy(saved), logged, limits=uncapped)
    for name, value in batched.params.items():
        assert (value - saved.params[name]).abs().max() > 1e-4, name
        for one in (alone, session.adapt(), from_log):
            torch.testing.assert_close(one.saved.params[name], value, rtol=0, atol=1e-5)

    for acted, returned in zip((saved, batched.saved), batched.returns, strict=True):
        acting, state, total = MetaPolicy(acted), None, 0.0
        observation, _ = env.reset()
        for _ in range(30):
            action, state = acting.predict(observation, state)
            observation, reward, *ends, _ = env.step(action)
            state = acting.observe(state, action, reward, observation, *ends)
            total += reward
        assert total == pytest.approx(returned, rel=1e-4)
    with pytest.raises(InputError, match="state of another policy, or of other than 3 robots"):
        acting.predict(np.zeros((3, 2)), state)
    fresh, _ = acting.predict(observation)
    assert not np.allclose(acting.predict(observation, state)[0], fresh)
    np.testing.assert_array_equal(acting.predict(observation, state, [True])[0], fresh)
