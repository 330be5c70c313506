import configparser
import email
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PACKAGES = {"metarl": ROOT / "metarl", "metarl_envs": ROOT / "envs" / "metarl_envs"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy so that nothing is left in, or picked up from, the checkout."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", *PROJECT["license-files"]):
        shutil.copy(ROOT / name, copy / name)
    for name in ("metarl", "envs", "experiments", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", "."]
    built = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = (copy / "dist").glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def read_dist_info(wheel, name):
    (member,) = [n for n in wheel.namelist() if n.endswith(f".dist-info/{name}")]
    return wheel.read(member).decode()


def test_wheel_holds_exactly_the_two_packages(wheel):
    top_level = {name.split("/")[0] for name in wheel.namelist()}
    info = {name for name in top_level if name.endswith(".dist-info")}
    assert info == {f"metarl_robotics-{PROJECT['version']}.dist-info"}
    assert top_level - info == set(PACKAGES)


def test_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel):
    expected = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == expected


def test_one_console_command_is_declared(wheel):
    entry_points = configparser.ConfigParser()
    entry_points.read_string(read_dist_info(wheel, "entry_points.txt"))
    assert {s: dict(entry_points[s]) for s in entry_points.sections()} == {
        "console_scripts": {"metarl": "metarl.cli.program:main"}
    }


def test_metadata_states_licence_and_python(wheel):
    metadata = email.message_from_string(read_dist_info(wheel, "METADATA"))
    assert metadata["Name"] == "metarl-robotics"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata.get_all("License-File") == ["LICENSE", "NOTICE"]
    assert "Apache License" in read_dist_info(wheel, "licenses/LICENSE")
    assert "Gymnasium" in read_dist_info(wheel, "licenses/NOTICE")


def test_citation_names_this_version():
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE)[1] == PROJECT["version"]


def pins():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_constraints_are_exact_and_fit_every_platform():
    for pin in pins():
        (specifier,) = pin.specifier
        assert specifier.operator == "==", pin
        assert "*" not in specifier.version and "+" not in specifier.version, pin
        assert not pin.name.startswith("nvidia"), pin


def test_every_dependency_is_pinned_to_a_version_it_allows():
    pinned = {canonicalize_name(p.name): next(iter(p.specifier)).version for p in pins()}
    extras = PROJECT["optional-dependencies"]
    for line in [*PROJECT["dependencies"], *(r for group in extras.values() for r in group)]:
        requirement = Requirement(line)
        if requirement.name != PROJECT["name"]:
            assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), line


def test_training_and_evaluation_need_no_extra(tmp_path):
    groups = PROJECT["optional-dependencies"]
    names = {
        Requirement(line).name.replace("-", "_")
        for extra in groups.keys() - {"dev", "all"}
        for line in groups[extra]
    }
    assert {"matplotlib", "stable_baselines3", "scipy", "mujoco_warp"} <= names
    program = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({sorted(names)}))  # none can be imported\n"
        "import metarl\n"
        "run = metarl.train('navigation', iterations=1, meta_batch_size=2, episodes_per_task=2)\n"
        "print(metarl.evaluate(run, tasks=2, episodes=2, splits=['test']))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-"], input=program, cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert "navigation" in ran.stdout
