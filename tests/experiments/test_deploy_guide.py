"""The guide "Adapt a deployed policy" runs as printed and keeps what it says."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "experiments" / "guides" / "deploy.md"


def test_the_guide_runs_as_printed(tmp_path, monkeypatch, capsys):
    for module in ("onnx", "onnxruntime", "stable_baselines3"):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        exec(block, names)
    report = names["adapted"].adapted["limits"]
    assert report["steps_taken"] == 1
    assert not report["check"]["rolled_back"]
    check = report["check"]
    assert check["counted_return_after"] > check["counted_return_before"] + 100
    assert report["step_scale"] == [1.0]  # the cap costs this policy nothing
    assert names["mean"] > 200
    for again in (names["from_log"], names["by_session"]):  # the same episodes, met otherwise
        assert again.adapted["returns"][0] < 50
        observation, total = names["robot"].reset(options={"task": {"direction": -1}})[0], 0.0
        for _ in range(100):
            observation, reward, *_ = names["robot"].step(again.predict(observation)[0])
            total += reward
        assert total > 200
    assert (tmp_path / "policy.onnx").is_file()
    assert np.abs(names["actions"]).max() <= 0.9 + 1e-6
    *printed, live = capsys.readouterr().out.splitlines()
    assert live == "act"  # the stream of a policy with a memory needs no probes
    assert names["known"].adapted["trial"] == {"episodes": 2, "steps": 250}
    assert names["hidden"].shape == (1, 128)
    kinds = [line.split()[0] for line in printed[-36:]]
    phases = [kinds[i : i + 12] for i in (0, 12, 24)]
    assert phases[0] == ["probe"] * 5 + ["act"] * 7
    assert phases[1] == phases[2] == ["act"] * 2 + ["probe"] * 5 + ["act"] * 5
