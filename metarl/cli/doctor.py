"""`metarl doctor`: what is missing on this machine, each with the command that fixes it."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from metarl.process import available_cores, counted
from metarl.versions import git_commit, install_command, version_of, versions

FREE_BYTES = 1_000_000_000
MUJOCO = "4.0."
OPTIONAL = {
    "matplotlib": "figures",
    "imageio-ffmpeg": "mp4 videos; without it GIFs are written",
    "stable-baselines3": "baselines",
    "onnx": "export of policies",
    "mujoco-menagerie": "robots of MuJoCo Menagerie by name, as menagerie:NAME",
    "metaworld": "the families metaworld-ml1:NAME and metaworld-ml10",
}
"""Distribution of an extra -> its purpose."""
GL_PACKAGES = {
    "egl": "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri",
    "osmesa": "apt-get install libosmesa6",
    "glfw": "run it on a desktop, with DISPLAY set",
}
"""Backend -> command that makes it work on Debian and Ubuntu."""
RENDER = """
import mujoco, numpy
model = mujoco.MjModel.from_xml_string(
    '<mujoco><worldbody><light pos="0 0 3"/><geom type="sphere" size="1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 48, 64) as renderer:
    renderer.update_scene(data)
    picture = renderer.render()
    print("rendered" if numpy.ptp(picture) > 0 else "blank", flush=True)
"""


@dataclass(frozen=True)
class Doctor:
    """Check this machine, and show how to fix what is missing."""

    def run(self) -> int:
        """Print every finding as it is made; 0 if metarl works here, else 1."""
        print("metarl doctor")
        missing = 0
        for finding in findings():
            print(finding.line(), flush=True)
            missing += finding.required and not finding.ok
        if missing:
            print(f"{missing} missing: fix them first, metarl does not work without")
            return 1
        print("metarl works on this machine")
        return 0


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    """Command that fixes it."""
    required: bool = False
    """True if metarl does not work without it."""

    def line(self) -> str:
        """One line, and the fix below it."""
        mark = "ok" if self.ok else "MISSING" if self.required else "-"
        fix = f"\n{'':>29}fix: {self.fix}" if self.fix and not self.ok else ""
        return f"  {mark:<8}{self.name:<19}{self.detail}{fix}"


def findings() -> Iterator[Finding]:
    """All checks, in order."""
    version = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    fix = "install Python 3.11 or newer"
    yield Finding("python", sys.version_info >= (3, 11), version, fix, required=True)
    yield from packages()
    yield engine()
    limit = os.environ.get("OMP_NUM_THREADS")
    cores = counted(available_cores(), "core")
    yield Finding("threads", True, f"{cores}, OMP_NUM_THREADS={limit}" if limit else cores)
    gpu = cuda()
    yield gpu
    warp = warp_engine(gpu.ok)
    yield warp
    yield Finding(
        "--engine auto", True, "warp; --engine cpu: double precision" if warp.ok else "cpu"
    )
    yield rendering()
    yield from (optional(name) for name in OPTIONAL)
    yield folder(Path("runs"))
    yield folder(Path(tempfile.gettempdir()))


def packages() -> Iterator[Finding]:
    """Import of each required package, since `pip check` does not find damaged ones."""
    commit = f", commit {git_commit()[:12]}" if git_commit() else ""
    for name, version in versions().items():
        error = ""
        try:
            importlib.import_module(name)
        except Exception as problem:  # a damaged package may raise anything
            error = first_line(problem)
        detail = version + (commit if name == "metarl" else "")
        if name == "mujoco" and not error and not version.startswith(MUJOCO):
            error = f"version {version}, metarl needs {MUJOCO}*"
        fix = "python -m pip install --force-reinstall metarl-robotics"
        yield Finding(name, not error, error or detail, fix, required=True)


def engine() -> Finding:
    """One step of two worlds in MuJoCo's batch."""
    try:
        from metarl_envs import BatchEnv, get_family

        env = BatchEnv(get_family("half-cheetah-direction"), 2, 1, sim_threads=2)
        import torch

        env.reset(torch.Generator().manual_seed(0))
        env.step(torch.zeros(2, len(env.action_low)))
    except Exception as error:  # any error is the finding
        fix = f"pip install 'mujoco=={MUJOCO}*'"
        return Finding("CPU engine", False, first_line(error), fix, required=True)
    return Finding("CPU engine", True, "mujoco.batch steps two worlds")


def cuda() -> Finding:
    """A GPU that torch can use."""
    try:
        import torch
    except ImportError as error:
        return Finding("CUDA", False, first_line(error))
    if torch.cuda.is_available():
        return Finding("CUDA", True, torch.cuda.get_device_name(0))
    return Finding("CUDA", False, "no GPU that torch can use; updates run on the CPU")


def warp_engine(gpu: bool) -> Finding:
    """mujoco_warp, imported, and whether it finds the GPU, if there is one."""
    name = "warp engine"
    try:
        import torch

        from metarl_envs import warp_problem

        problem = warp_problem(torch.device("cuda" if gpu else "cpu"))
    except Exception as error:  # any error is the finding
        return Finding(name, False, first_line(error))
    detail, _, fix = problem.partition("; ")
    if not problem and gpu:
        return Finding(name, True, f"mujoco-warp {version_of('mujoco-warp')} on the GPU")
    detail = detail or "no GPU; on a CPU it is for tests only (--engine warp)"
    return Finding(name, False, f"not used: {detail}", fix)


def rendering(render: Callable[[str], str] | None = None) -> Finding:
    """The first GL backend that renders a picture, each tried in a process of its own."""
    render, name = render or render_with, "rendering"
    if sys.platform != "linux":
        problem = render("")
        return Finding(name, not problem, problem or "ok", "update the graphics driver")
    chosen = os.environ.get("MUJOCO_GL", "")
    problems: dict[str, str] = {}
    for backend in dict.fromkeys(filter(None, (chosen, *GL_PACKAGES))):
        if problem := render(backend):
            problems[backend] = problem
        elif problems and chosen:
            detail = f"MUJOCO_GL={chosen} fails ({problems[chosen]})"
            return Finding(name, False, detail, f"export MUJOCO_GL={backend}")
        else:
            return Finding(name, True, f"{backend} renders")
    detail = "; ".join(f"{backend}: {problem}" for backend, problem in problems.items())
    return Finding(name, False, f"no videos ({detail})", GL_PACKAGES["egl"])


def render_with(backend: str) -> str:
    """Render one picture in a child process; returns the problem, or ""."""
    environment = os.environ | ({"MUJOCO_GL": backend} if backend else {})
    command = [sys.executable, "-c", RENDER]
    try:
        child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "no picture within 60 s"
    # Not the exit code: a renderer may fail at exit after a correct picture.
    if "rendered" in child.stdout:
        return ""
    lines = child.stderr.strip().splitlines()
    return lines[-1][:100] if lines else "blank picture"


def optional(distribution: str) -> Finding:
    """A package of one of our extras."""
    version = version_of(distribution)
    if version != "not installed":
        return Finding(distribution, True, version)
    detail = f"not installed: {OPTIONAL[distribution]}"
    return Finding(distribution, False, detail, install_command(distribution))


def folder(path: Path) -> Finding:
    """Write access and free space in a folder, or in the nearest one above it."""
    existing = next(p for p in (path.absolute(), *path.absolute().parents) if p.is_dir())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
        free = shutil.disk_usage(existing).free
    except OSError as error:
        fix = "choose another folder with --run, or TMPDIR for temporary files"
        return Finding(f"write {path}", False, f"{existing}: {error.strerror}", fix, required=True)
    detail = f"{existing} is writable, {free / 1e9:.1f} GB free"
    return Finding(f"write {path}", free >= FREE_BYTES, detail, "free some space", required=True)


def first_line(error: Exception) -> str:
    """The error's first line, with its type."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
