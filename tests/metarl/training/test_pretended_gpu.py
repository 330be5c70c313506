"""On a pretended GPU: a recorded step waits for nothing and copies nothing, updates mix nothing.

The device is registered with torch for the life of a process, so the checks have their own ones.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "support" / "pretended_gpu"


@pytest.mark.slow
@pytest.mark.parametrize("checks", ["checks.py", "trial_checks.py"])
@pytest.mark.skipif(
    importlib.util.find_spec("mujoco_warp") is None,
    reason="mujoco-warp is not installed: pip install '.[gpu]'",
)
def test_what_must_hold_on_a_gpu(checks):
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "python_functions=check_*"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(FOLDER / checks)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout.splitlines()[-1]
