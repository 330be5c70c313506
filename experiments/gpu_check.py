r"""Install, check and time metarl on a borrowed GPU machine, and print one table last.

    python experiments/gpu_check.py --wheels DIR --out DIR --parts install tests
    python experiments/gpu_check.py --wheels DIR --out DIR --parts install learners
    python experiments/gpu_check.py --wheels DIR --out DIR --parts install speed learn

Three calls of ten minutes each, first compilation included: checks first, times last. A call stops
what has not ended after --seconds, says so, and still prints the table; call it again for the rest,
with what was compiled kept in --site. How long the parts take on a GPU was not measured.

The machine needs Python 3.12 on x86-64 with pip, torch with CUDA and pytest, and no network: all
else comes as wheels in --wheels. To fill that folder with them (33, 193 MiB), in this checkout:

    for p in mujoco-core mujoco warp-lang mujoco-warp etils absl-py gymnasium cmaes \
        Farama-Notifications safetensors tensorboard tensorboard-data-server grpcio protobuf \
        Markdown Werkzeug tyro docstring_parser typeguard tqdm ImageIO pillow packaging fsspec \
        typing_extensions zipp cloudpickle MarkupSafe setuptools numpy attrs cattrs Jinja2; do
      grep -i "^$p==" constraints.txt; done | xargs pip download -d DIR --no-deps \
        --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
        --platform manylinux_2_27_x86_64 --platform manylinux2014_x86_64

It leaves out what mujoco asks for but only pictures need (glfw, PyOpenGL, mujoco-studio), and
matplotlib. Where files travel in small pieces, cut the large one (142 MiB):

    cd DIR && for f in warp_lang-*.whl; do split -b 48M -d "$f" "$f.part" && rm "$f"; done

The pieces are joined here. Every part writes into --out, and the table is made of all that is
there. `install` comes first, always: it is quick when done. `learners` without --device cuda runs
on a CPU too, as the tests do.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FAMILY = "half-cheetah-direction"
RETURN = 220.0
TASKS, WORLDS = 32, 8192
LEARNERS = {
    "teacher-student": ["--outer.teacher-share", "0.34", "--outer.reinforcement-share", "0.33"],
    "rl2": [],
    "varibad": [],
    "pearl": ["--outer.steps", "8"],
    "maml-trpo": ["--episodes-per-task", "5"],
    "promp": ["--episodes-per-task", "5"],
    "maml++": ["--episodes-per-task", "5"],
    "cavia": ["--episodes-per-task", "5"],
}
"""Methods of `learners`, those that adapt within an episode first, with settings of their own."""
BELOW_CAPACITY = "256"
"""Worlds in which the learners with a memory or a replay are timed."""
TESTS = (
    "tests/metarl_envs/engines",
    "tests/metarl/rollouts/test_cuda_graph.py",
    "tests/metarl/rollouts/test_stepping.py",
    "tests/metarl/outer/test_trust_region.py",
    "tests/metarl/training/test_warp_training.py",
)


def main() -> int:
    """Run the parts asked for; 1 if one of them failed, after the table all the same."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheels", type=Path, required=True, help="folder of wheels and pieces")
    parser.add_argument("--out", type=Path, required=True, help="folder for logs and figures")
    parser.add_argument("--site", type=Path, default=Path(tempfile.gettempdir()) / "metarl-site")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--worlds", nargs="+", default=["256", "1024", "4096", "8192", "32768"])
    parser.add_argument("--iterations", default="150", help="meta-iterations of `learn`")
    parser.add_argument("--device", default="cuda", help="of `learners`")
    parser.add_argument("--methods", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    parser.add_argument("--seconds", type=float, default=560.0, help="of this call, at most")
    given = parser.parse_args()
    given.ends = time.monotonic() + given.seconds
    given.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for part, do in PARTS.items():
        if part in given.parts:
            began = time.perf_counter()
            ok = do(given)
            print(f"{part}: {'ok' if ok else 'FAILED'}, {time.perf_counter() - began:.0f} s")
            failed += [] if ok else [part]
    print("\n".join(f"{name:<52}{value:>16}" for name, value in table(given.out)))
    return bool(failed)


def install(given: argparse.Namespace) -> bool:
    """Join the pieces, and put all wheels into a folder of their own."""
    done = given.site / "installed"
    if not done.is_file():
        for first in given.wheels.glob("*.whl.part00"):
            pieces = sorted(first.parent.glob(first.name.replace("part00", "part*")))
            first.with_suffix("").write_bytes(b"".join(p.read_bytes() for p in pieces))
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
        wheels = [str(wheel) for wheel in sorted(given.wheels.glob("*.whl"))]
        if not run(given, "pip", [*command, "--target", str(given.site), *wheels]):
            return False
        done.touch()
    return run(given, "doctor", [sys.executable, "-m", "metarl", "doctor"])


def tests(given: argparse.Namespace) -> bool:
    """The engine's tests, those on the GPU included."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=10"]
    return run(given, "tests", [*command, *TESTS])


def learners(given: argparse.Namespace) -> bool:
    """Four iterations of every learner: three on the device, the last on the CPU, from files."""
    engine = "warp" if given.device == "cuda" else "cpu"
    found = {}
    for method in given.methods:
        folder = given.out / f"learner-{method}-{int(time.time())}"
        sizes = ["--meta-batch-size", "8", "--horizon", "20", "--iterations", "3"]
        options = ["--method", method, *sizes, *LEARNERS[method], "--checkpoint-every", "1"]
        machine = ["--device", given.device, "--engine", engine, "--run", str(folder)]
        good = metarl(given, f"learner-{method}", "train", FAMILY, *options, *machine)
        found[method] = good and healthy(folder / "metrics.jsonl", iterations=3)
        where = ["--engine", "cpu", "--device", "cpu", "--iterations", "4"]
        again = found[method] and metarl(given, f"resume-{method}", "resume", str(folder), *where)
        found[method] = again and healthy(folder / "metrics.jsonl", iterations=4)
    known = given.out / "learners.json"
    before = json.loads(known.read_text()) if known.is_file() else {}
    known.write_text(json.dumps(before | found, indent=2))
    return all(found.values())


def healthy(log: Path, iterations: int) -> bool:
    """True if so many iterations are logged, no update was refused and no world diverged."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    bad = sum(line["health/refused_updates"] + line["health/nonfinite_envs"] for line in lines)
    return len(lines) == iterations and bad == 0


def speed(given: argparse.Namespace) -> bool:
    """MAML-TRPO and ProMP on the GPU, MAML-TRPO on the CPU engine, and the learners in trials."""
    good = True
    for method in ("maml-trpo", "promp"):
        options = ["--method", method, "--engine", "warp", "--device", "cuda", "--worlds"]
        good &= metarl(given, f"speed-{method}", "benchmark", FAMILY, *options, *given.worlds)
    for method in ("rl2", "teacher-student", "varibad", "pearl"):
        options = ["--method", method, "--engine", "warp", "--device", "cuda"]
        worlds = ["--worlds", BELOW_CAPACITY]
        good &= metarl(given, f"speed-{method}", "benchmark", FAMILY, *options, *worlds)
    options = ["--engine", "cpu", "--device", "cpu", "--sim-threads", "2", "--worlds", "1024"]
    return good & metarl(given, "speed-cpu", "benchmark", FAMILY, *options)


def learn(given: argparse.Namespace) -> bool:
    """Meta-train on the GPU; then adapt the policy on both engines."""
    folder = given.out / f"run-{int(time.time())}"
    sizes = ["--meta-batch-size", str(TASKS), "--episodes-per-task", str(WORLDS // TASKS)]
    options = ["--iterations", given.iterations, "--engine", "warp", "--device", "cuda"]
    began = time.time()
    good = metarl(given, "train", "train", FAMILY, *sizes, *options, "--run", str(folder))
    if not (folder / "metrics.jsonl").is_file():
        return False
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    seconds = 0.0
    reached = None
    for line in lines:
        seconds += line["time/collect_s"] + line["time/update_s"]
        if reached is None and (line["rollout/return_post"] or 0.0) >= RETURN:
            reached = seconds
    figures: dict[str, Any] = {
        "wall_s": time.time() - began,
        "seconds_to_return": reached,
        "best_return": max(line["rollout/return_post"] or 0.0 for line in lines),
        "update_share": sum(line["time/update_s"] for line in lines) / seconds,
    }
    for engine in ("cpu", "warp"):
        name = f"evaluate-{engine}"
        out = given.out / name
        # Not judged by its exit: without matplotlib it fails at the figure, after the table.
        metarl(given, name, "evaluate", str(folder), "--engine", engine, "--out", str(out))
        figures[f"return_{engine}"] = adapted_return(out / "evaluation.csv")
    (given.out / "learn.json").write_text(json.dumps(figures, indent=2))
    return good


PARTS = {
    "install": install,
    "tests": tests,
    "learners": learners,
    "speed": speed,
    "learn": learn,
}


def adapted_return(path: Path) -> float:
    """Mean return over tasks after the last gradient step."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    last = max(int(row["gradient_steps"]) for row in rows)
    return statistics.mean(float(r["return"]) for r in rows if int(r["gradient_steps"]) == last)


def table(out: Path) -> Iterator[tuple[str, str]]:
    """Goals of the issue and what was measured, from the files of all parts run so far."""
    speeds = {path.stem.removeprefix("speed-"): path for path in sorted(out.glob("speed-*.json"))}
    rows = {name: json.loads(path.read_text())["rows"] for name, path in speeds.items()}
    for name, measured in rows.items():
        for row in measured:
            at = f"{name}, {row['worlds']:,} worlds: "
            yield f"{at}physics steps/s", f"{row['physics_steps_per_s']:,.0f}"
            yield f"{at}collection env steps/s", f"{row['policy_env_steps_per_s']:,.0f}"
            yield f"{at}training env steps/s", f"{row['train_env_steps_per_s']:,.0f}"
            yield f"{at}collection / physics", f"{row['collect_over_physics']:.2f}"
            yield f"{at}update share", f"{1 - row['collect_s'] / row['iteration_s']:.0%}"
            yield (
                f"{at}kernels and waits of an update",
                (f"{row['update_kernels']:,}, {row['update_waits']}"),
            )
            yield f"{at}memory", f"{row['memory_gb']:.1f} GB"
    best = {n: max(r["train_env_steps_per_s"] for r in measured) for n, measured in rows.items()}
    if {"cpu", "maml-trpo"} <= set(best):
        yield "GPU over two CPU cores, training", f"{best['maml-trpo'] / best['cpu']:.1f}"
    if (out / "learners.json").is_file():
        for method, good in json.loads((out / "learners.json").read_text()).items():
            yield f"learner {method}, and its checkpoint on the CPU", "ok" if good else "FAILED"
    if (out / "learn.json").is_file():
        learned = json.loads((out / "learn.json").read_text())
        yield from ((name, "-" if v is None else f"{v:.2f}") for name, v in learned.items())


def metarl(given: argparse.Namespace, name: str, *arguments: str) -> bool:
    """Run a command of metarl, its figures (where it writes some) beside its log."""
    figures = ["--json", str(given.out / f"{name}.json")] if arguments[0] == "benchmark" else []
    return run(given, name, [sys.executable, "-m", "metarl", *arguments, *figures])


def run(given: argparse.Namespace, name: str, command: list[str]) -> bool:
    """Run it in the checkout with what was installed, to the end of this call's time at most.

    What it prints is shown and kept.
    """
    path = os.pathsep.join(map(str, (given.site, ROOT, ROOT / "envs")))
    cache = str(given.site / "warp_cache")
    environment = os.environ | {"PYTHONPATH": path, "WARP_CACHE_PATH": cache}
    with (given.out / f"{name}.log").open("w") as log:
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert child.stdout is not None
        clock = threading.Timer(max(0.0, given.ends - time.monotonic()), child.kill)
        clock.start()
        for line in child.stdout:
            print(line, end="", flush=True)
            log.write(line)
        code = child.wait()
        if not clock.is_alive():
            print(f"{name}: not ended within this call's {given.seconds:.0f} s", flush=True)
        clock.cancel()
    return code == 0


if __name__ == "__main__":
    sys.exit(main())
