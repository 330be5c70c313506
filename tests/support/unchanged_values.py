"""Values that no change of the code's form may change, as digests: `unchanged_values.json`.

    OPENBLAS_NUM_THREADS=1 python tests/support/unchanged_values.py

computes them with the code at hand and writes the file anew. Record before a rewrite, never to make
a red test green: then say in the commit which values changed, and why. Names of entries are no
values: where `test_unchanged_values.py` says that names alone changed, recording again is enough.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import safetensors.numpy
import torch

import metarl
from metarl.cli import main
from metarl.methods.meta import METHODS
from metarl.runs.metrics_log import read_metrics

RECORDED = Path(__file__).with_suffix(".json")
BUNDLED = Path(metarl.__file__).parent / "assets" / "half-cheetah-direction"
HORIZONS = {"navigation": 20, "half-cheetah-direction": 30}
POPULATION = 10
"""Of CMA-ES; a divisor of the meta-batch's size."""
ARITHMETIC = ("torch", "numpy", "mujoco", "gymnasium", "cmaes", "stable-baselines3")
BLAS_THREADS = "OPENBLAS_NUM_THREADS"
"""NumPy's, read when it is imported; CMA-ES on half-cheetahs has other bits with 2 than with 1."""
HERE: Mapping[str, Any] = {"device": "cpu", "engine": "cpu", "sim_threads": 1}

Values = Mapping[str, Mapping[str, Any]]
"""Part, such as "parameters" -> entry -> an array, a number, or a list of numbers."""
Digests = dict[str, dict[str, str]]
"""The same with a digest for every value."""


def digest(value: Any) -> str:
    """The first 16 digits of SHA-256 over all bits: dtype, shape and bytes, or exact numbers."""
    if isinstance(value, np.ndarray):
        content = f"{value.dtype} {value.shape} ".encode() + value.tobytes()
    else:
        content = exact(value).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def exact(value: Any) -> str:
    """Numbers as text without rounding."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(exact, value))}]"
    return value.hex() if isinstance(value, float) else repr(value)


def digests(values: Values) -> Digests:
    """A digest of every value."""
    return {
        part: {name: digest(entries[name]) for name in sorted(entries)}
        for part, entries in values.items()
    }


def differences(found: Digests, recorded: Digests) -> list[str]:
    """Changes, one line for each part; a change of names alone is called that."""
    lines = []
    for part in sorted(found.keys() | recorded.keys()):
        new, old = found.get(part, {}), recorded.get(part, {})
        if new == old:
            continue
        if sorted(new.values()) == sorted(old.values()):
            lines.append(f"{part}: names alone changed, from {list(old)} to {list(new)}")
            continue
        changed = [name for name in old if name in new and new[name] != old[name]]
        gone, added = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
        told = [("other values", changed), ("gone", gone), ("new", added)]
        lines.append(f"{part}: " + "; ".join(f"{what}: {names}" for what, names in told if names))
    return lines


def machine() -> dict[str, str]:
    """Processor and libraries: they decide how numbers are rounded."""
    return {
        "processor": processor(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "BLAS threads": os.environ.get(BLAS_THREADS, "all"),
        **{name: installed(name) for name in ARITHMETIC},
    }


def processor() -> str:
    """Architecture and model; MKL chooses its kernels by the model."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    about = dict(line.replace("\t", "").split(":", 1) for line in reversed(lines) if ":" in line)
    wanted = [about.get(name, "").strip() for name in ("model name", "cpu family", "model")]
    return " ".join([platform.machine(), *wanted]).strip()


def installed(distribution: str) -> str:
    """The installed version, without what it was built for: "2.13.0" of "2.13.0+cpu"."""
    try:
        return version(distribution).split("+")[0]
    except PackageNotFoundError:
        return "not installed"


def trained(family: str, method: str, folder: Path) -> Values:
    """Three iterations of a method's recipe with few short episodes; MAML-TRPO is validated too.

    Teacher-student has one iteration of each of its phases.
    """
    search, settings = method == "cma-es", {"evaluate_every": int(method == "maml-trpo")}
    if method == "teacher-student":
        settings |= {"outer.teacher_share": 0.34, "outer.reinforcement_share": 0.33}
    if method in ("grbal", "rebal"):
        settings |= {"outer.steps": 20, "policy.candidates": 8, "policy.rounds": 2}
    run = metarl.train(
        family,
        method=method,
        iterations=3,
        meta_batch_size=2 * POPULATION if search else 6,
        episodes_per_task=3 if search else 5,
        horizon=HORIZONS[family],
        seed=1,
        settings=settings | {"evaluation_tasks": 4},
        run=folder / "run",
        **HERE,
    )
    return saved(run.folder)


def baseline(name: str, folder: Path) -> Values:
    """Three iterations of PPO by Stable-Baselines3, and an evaluation, which fine-tunes."""
    run = metarl.baseline(
        name,
        "navigation",
        env_steps=300,
        worlds=5,
        horizon=HORIZONS["navigation"],
        seed=1,
        settings={"outer.minibatches": 4, "outer.epochs": 2},
        sim_threads=1,
        run=folder / "run",
    )
    return {**saved(run.folder), **evaluated(run.folder, tasks=3)}


def bundled_evaluated(folder: Path) -> Values:
    """The bundled policy on both of its tasks, with all controls, by mean action and with noise."""
    del folder
    without, noisy = evaluated(BUNDLED), evaluated(BUNDLED, noise=True, budgets=[2], steps=2)
    return {**without, **{f"{part}, with noise": values for part, values in noisy.items()}}


def bundled_adapted(folder: Path) -> Values:
    """`MetaPolicy.adapt` and `metarl adapt`, each in two steps."""
    policy = metarl.load(BUNDLED).adapt(backward(), episodes=3, steps=2, seed=3)
    words = ["--task", "direction=-1", "--episodes", "3", "--steps", "2", "--sim-threads", "1"]
    words += ["--device", "cpu", "--engine", "cpu", "--out", str(folder / "simulated")]
    assert main(["adapt", str(BUNDLED), *words]) == 0
    simulated = metarl.load(folder / "simulated")
    return {
        **of_policy(policy, folder),
        "parameters, metarl adapt": tensors(folder / "simulated" / "model.safetensors"),
        "report, metarl adapt": dict(numbers(simulated.adapted)),
    }


def bundled_limited(folder: Path) -> Values:
    """`MetaPolicy.adapt` with limits that stop episodes and cut the step, and with a check."""
    limits = metarl.Limits(
        action_low=-0.9, action_high=0.8, unsafe=pitched, min_return=-2.0, max_step_kl=20.0
    )
    policy = metarl.load(BUNDLED).adapt(backward(), episodes=5, seed=5, limits=limits)
    assert {episode.stopped for episode in policy.episodes} == {"", "unsafe", "min_return"}
    checked = metarl.load(BUNDLED).adapt(
        backward(), episodes=3, seed=4, limits=metarl.Limits(check_episodes=2)
    )
    return {
        **of_policy(policy, folder / "limited"),
        "report, checked": dict(numbers(checked.adapted)),
    }


def bundled_in_a_session(folder: Path) -> Values:
    """A session that is driven by hand, and the same episodes as a log."""
    policy, env = metarl.load(BUNDLED), backward()
    session, number = metarl.AdaptationSession(policy, episodes=3, seed=5), 0
    while not session.ready:
        observation, _ = env.reset(seed=number)
        over, number = False, number + 1
        while not over:
            observation, reward, terminated, truncated, _ = env.step(session.act(observation))
            over = session.observe(reward, observation, terminated, truncated)
    sent = [without_outputs(episode) for episode in session.episodes]
    logged = of_policy(metarl.adapt_from(policy, sent), folder / "logged")
    return {
        **of_policy(session.adapt(), folder),
        **{f"{part}, from the log": values for part, values in logged.items()},
    }


def bundled_in_a_stream(folder: Path) -> Values:
    """`ContinualAdapter` on a robot that turns round, which it has to notice."""
    env = backward()
    stream = metarl.ContinualAdapter(metarl.load(BUNDLED), window=3, seed=1)
    met = [stream.episode(env) for _ in range(11)]
    env.reset(options={"task": {"direction": 1}})
    met += [stream.episode(env) for _ in range(8)]
    assert sum(bool(one.change) for one in met) == 1
    assert sum(one.adapted for one in met) == 2
    stream.policy.save(folder / "adapted")
    return {
        "parameters": tensors(folder / "adapted" / "model.safetensors"),
        "episodes": of_episodes([one.episode for one in met]),
        "stream": {
            "adapted": [one.adapted for one in met],
            "changed": [bool(one.change) for one in met],
            "returned": [float(one.returned) for one in met],
            "step": [one.step for one in met],
        },
    }


CASES: Mapping[str, Callable[[Path], Values]] = {
    **{f"{method}, {f}": partial(trained, f, method) for method in METHODS for f in HORIZONS},
    "robust, navigation": partial(baseline, "robust"),
    "finetuned, navigation": partial(baseline, "finetuned"),
    "bundled policy, evaluated": bundled_evaluated,
    "bundled policy, adapted": bundled_adapted,
    "bundled policy, adapted within limits": bundled_limited,
    "bundled policy, adapted in a session": bundled_in_a_session,
    "bundled policy, adapted continually": bundled_in_a_stream,
}
"""Each with a folder to work in."""


def compute(case: str, folder: Path) -> Digests:
    """A case's digests, by one thread: sums by several have other roundings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return digests(CASES[case](folder))
    finally:
        torch.set_num_threads(threads)


def saved(run: Path) -> Values:
    """Files of a finished run, and its log without times."""
    last = run / "checkpoints" / "000003"
    lines = read_metrics(run)
    assert len(lines) == 3
    names = {name for line in lines for name in line if not name.startswith("time/")}
    return {
        "parameters": tensors(last / "model.safetensors"),
        "optimiser and streams": tensors(last / "training.safetensors"),
        "metrics": {name: [line.get(name) for line in lines] for name in names},
    }


def evaluated(run: Path, tasks: int = 6, **how: Any) -> Values:
    """An evaluation's summary and table, as in evaluation.json and evaluation.csv."""
    found = metarl.evaluate(run, tasks=tasks, episodes=4, seed=2, **HERE, **{"budgets": ()} | how)
    rows = found.evaluation.records()
    return {
        "summary": dict(numbers(found.summary())),
        "table": {name: [row[name] for row in rows] for name in rows[0]},
    }


def of_policy(policy: Any, folder: Path) -> Values:
    """An adapted policy: its parameters, what it was adapted from, and the report."""
    policy.save(folder / "adapted")
    return {
        "parameters": tensors(folder / "adapted" / "model.safetensors"),
        "episodes": of_episodes(policy.episodes),
        "report": dict(numbers(policy.adapted)),
    }


def of_episodes(episodes: Iterable[Any]) -> dict[str, Any]:
    """All that was met, one array for each quantity."""
    met = list(episodes)
    return {
        name: np.concatenate([getattr(episode, name) for episode in met])
        for name in ("observations", "actions", "rewards")
    } | {"steps": [len(e.rewards) for e in met], "terminated": [bool(e.terminated) for e in met]}


def without_outputs(episode: Any) -> dict[str, Any]:
    """As a log has it."""
    return {
        "observations": episode.observations,
        "actions": episode.actions,
        "rewards": episode.rewards,
        "terminated": episode.terminated,
    }


def tensors(path: Path) -> dict[str, np.ndarray]:
    """A safetensors file."""
    return safetensors.numpy.load_file(path)


def numbers(data: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, number) of everything in plain JSON values that is a number or missing."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from numbers(value, f"{name}.{key}" if name else key)
    elif isinstance(data, list | tuple):
        for i, value in enumerate(data):
            yield from numbers(value, f"{name}.{i}")
    elif not isinstance(data, str):
        yield name, data


def backward() -> gymnasium.Env[Any, Any]:
    """A half-cheetah that is to run backward."""
    env = gymnasium.make("metarl_envs:MetaRL/HalfCheetahDirection-v0")
    env.reset(seed=0, options={"task": {"direction": -1}})
    return env


def pitched(observation: np.ndarray) -> bool:
    """True if the torso is 0.152 rad off the horizontal, as in some episodes before adapting."""
    return bool(abs(observation[1]) > 0.152)


def record() -> None:
    """Write `unchanged_values.json`."""
    if os.environ.get(BLAS_THREADS) != "1":
        sys.exit(f"set {BLAS_THREADS}=1, as the tests do: with more threads CMA-ES has other bits")
    found = {}
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            found[case] = compute(case, Path(folder))
    rows = [f" {json.dumps(case)}: {{\n{parts(found[case])}\n }}" for case in CASES]
    text = f'"machine": {json.dumps(machine())},\n"cases": {{\n' + ",\n".join(rows) + "\n}"
    RECORDED.write_text(f"{{\n{text}\n}}\n")
    print(f"{RECORDED}: {len(found)} cases")


def parts(case: Digests) -> str:
    """A line for each part, so that a diff shows what changed."""
    return ",\n".join(f"  {json.dumps(part)}: {json.dumps(case[part])}" for part in case)


if __name__ == "__main__":
    record()
