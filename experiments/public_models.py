"""Robot models of public packages through the first day: check, train, adapt, record.

    python -m experiments.public_models --folder runs/public_models            # all of them
    python -m experiments.public_models --names ur5e shadow-hand

Nothing of the packages is kept here: each is fetched from the package index into the folder,
without its dependencies, and unpacked. A robot becomes a family as a new user would write it in a
few lines: the load and the strength of its actuators vary and are hidden, and it is paid for
holding its starting pose. Two meta-iterations of short episodes say whether it runs, not whether it
learns. The table has what each step gave: ok, what `check` noted, or the error.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import tyro

from experiments.public_robots import MODELS, Model
from metarl.cli import main as metarl
from metarl.runs.files import replace_file
from metarl_envs.vary.actuator_kinds import TRANSMISSION, actuators

FAMILY = '''"""{name}, of the package {package}."""
from metarl_envs import TaskFamily, mujoco_robot, vary

ROBOT = mujoco_robot({xml!r}, name={name!r}, {robot})
START = ROBOT.initial_state()[0]


def reward(t):
    error = (t.after["qpos"] - START.to(t.after["qpos"])).square().mean(dim=1)
    return -error - 0.001 * t.after["qvel"].square().mean(dim=1)


family = TaskFamily(
    name={name!r},
    robot=ROBOT,
    parameters=(
        vary.mass(ROBOT, {load!r}, (0.5, 2.0), name="load"),
        vary.strength(ROBOT, {strength!r}, (0.7, 1.3), name="strength"),
    ),
    reward=reward,
    horizon=30,
)
'''
STEPS = ("check", "train", "adapt", "record")
TASK = ("--task", "load=2", "strength=0.8")
SIZES = ("--meta-batch-size", "4", "--episodes-per-task", "4", "--iterations", "2")
SHORT = ("--horizon", "10", "--evaluate-every", "0")
ON = {
    TRANSMISSION.mjTRN_TENDON: (" on a tendon", "s on tendons"),
    TRANSMISSION.mjTRN_SITE: (" at a site", "s at sites"),
}
"""Kind of command that the actuators take, where their type does not show it."""


@dataclass(frozen=True)
class Options:
    """Models and folders."""

    names: tuple[str, ...] = tuple(MODELS)
    """Of the models."""
    folder: Path = Path("runs/public_models")
    """For packages, families, runs and films."""
    out: Path = Path("experiments/results")
    """Folder for public_models.json and public_models.md; rows of other models there stay."""


def unpacked(folder: Path, package: str) -> Path:
    """The folder of an unpacked package, fetched if it is not there; without dependencies."""
    place = folder / "packages" / package
    if not place.exists():
        wheels = folder / "wheels" / package
        command = ["pip", "download", "--no-deps", "-q", "-d", str(wheels), package]
        subprocess.run([sys.executable, "-m", *command], check=True)
        for wheel in wheels.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(place)
    return place


def family_file(name: str, model: Model, xml: Path) -> str:
    """The text of a file with the family of a model."""
    return FAMILY.format(
        name=name,
        package=model.package,
        xml=str(xml.resolve()),
        robot=model.robot,
        load=model.load,
        strength=model.strength,
    )


def driven(xml: Path) -> tuple[str, bool]:
    """The kinds of a model's actuators in words, and whether most are position servos."""
    model = mujoco.MjModel.from_xml_path(str(xml))  # pyright: ignore[reportAttributeAccessIssue]
    kinds = Counter(
        (actuator.kind, TRANSMISSION(int(model.actuator_trntype[actuator.index])))
        for actuator in actuators(model, "*")
    )
    servos = sum(count for (kind, _), count in kinds.items() if kind == "position servo")
    words = [f"{n} {kind}{ON.get(on, ('', 's'))[n > 1]}" for (kind, on), n in kinds.items()]
    return ", ".join(words), 2 * servos > kinds.total()


def commands(file: str, name: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Commands that a user types, by the step's name."""
    run, family = str(folder / "run"), ["--family", file]
    yield "check", ["check", file, "--out", str(folder / f"{name}.png")]
    yield (
        "train",
        ["train", file, "--method", "meta-sgd", *SIZES, *SHORT, "--run", run, "--quiet"],
    )
    yield "adapt", ["adapt", run, *family, *TASK, "--episodes", "4"]
    yield "record", ["record", run, *family, *TASK, "--episodes", "4"]


def ran(command: Sequence[str]) -> tuple[int, str, float]:
    """Exit code, what was printed, and seconds of a command."""
    output = io.StringIO()
    began = time.perf_counter()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = metarl(list(command))
    return int(code), output.getvalue().strip(), time.perf_counter() - began


def outcome(code: int, output: str) -> str:
    """A cell of the table: ok and what `check` noted, what it found wrong, or the error.

    Args:
        code: the command's exit code.
        output: what it printed.
    """
    lines = output.splitlines()
    failed = [line for line in lines if line.startswith("FAILED")]
    noted = dict.fromkeys(
        line.removeprefix("note").partition(":")[0].strip()
        for line in lines
        if line.startswith("note ")
    )
    if code == 0:
        return f"ok, notes: {', '.join(noted)}" if noted else "ok"
    if failed:
        return "; ".join(failed)
    return next((line for line in lines if "error: " in line), lines[-1] if lines else "no word")


def tried(name: str, folder: Path) -> dict[str, Any]:
    """A model through all steps, up to the first that fails; `check` stops nothing."""
    model, place = MODELS[name], folder / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    packages = unpacked(folder, model.package)
    file = place / "family.py"
    file.write_text(family_file(name, model, packages / model.xml))
    words, positions = driven(packages / model.xml)
    row: dict[str, Any] = {"model": name, "package": model.package, "xml": model.xml}
    row |= {"actuators": words, "position_controlled": positions, "seconds": {}}
    for step, command in commands(f"{file}:family", name, place):
        code, output, seconds = ran(command)
        (place / f"{step}.txt").write_text(f"{output}\n")
        row[step] = outcome(code, output).replace(f"{packages.resolve()}/", "")
        row["seconds"][step] = round(seconds, 1)
        print(f"{name:12} {step:7} {seconds:5.1f} s  {row[step]}", flush=True)
        if code and step != "check":
            break
    return row


def passed(row: Mapping[str, Any]) -> bool:
    """True if all four steps succeeded."""
    return all(str(row.get(step, "")).startswith("ok") for step in STEPS)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as Markdown, under a sentence that counts them."""
    good = [row for row in rows if passed(row)]
    servos = sum(bool(row["position_controlled"]) for row in good)
    columns = ("model", "package", "actuators", *STEPS)
    lines = [
        f"{len(good)} of {len(rows)} models of public packages pass all steps; "
        f"{servos} of these are position-controlled (most actuators are position servos). "
        "Made by `python -m experiments.public_models`, which says what a step is; notes are "
        "questions of `metarl check` that a person should look at.\n",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
    ]
    for row in rows:
        cells = [str(row.get(column, "-")).replace("|", "\\|") for column in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    """Try the models, one after the other, and write the table after each."""
    results = options.out / "public_models.json"
    options.out.mkdir(parents=True, exist_ok=True)
    found = json.loads(results.read_text()) if results.exists() else []
    rows = {row["model"]: row for row in found}
    for name in options.names:
        rows[name] = tried(name, options.folder)
        in_order = [rows[known] for known in MODELS if known in rows]
        replace_file(results, f"{json.dumps(in_order, indent=1)}\n".encode())
        (options.out / "public_models.md").write_text(table(in_order))
    print((options.out / "public_models.md").read_text())


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
