"""The final policy of a run becomes an asset of the package, with its figures beside it."""

import json

from support.tiny_runs import run_with

from experiments import bundle
from metarl.runs.checkpoint import load_policy


def test_the_newest_policy_is_bundled_and_measured(tmp_path, capsys):
    run, out = tmp_path / "moved", tmp_path / "bundled.json"
    run_with(tmp_path / "run", 1, 2).rename(run)
    config = json.loads((run / "config.json").read_text())
    train = ["metarl", "train", "navigation"]
    config["commands"] = [[*train, "--run", str(tmp_path / "run"), "--seed", "0"]]
    (run / "config.json").write_text(json.dumps(config))
    options = bundle.Options(run, "navigation", out, tasks=3, episodes=2)
    bundle.main(options, assets=tmp_path / "assets")
    folder = tmp_path / "assets" / "navigation"
    assert sorted(path.name for path in folder.iterdir()) == sorted(bundle.FILES)
    saved, written = load_policy(folder), json.loads(out.read_text())
    assert saved.metadata["iteration"] == written["policy"]["iteration"] == 2
    assert written["policy"]["sha256"] == load_policy(run).metadata["sha256"]
    assert written["commands"] == [[*train, "--seed", "0"]]
    assert written["splits"]["test"]["tasks"] == 3
    assert "test: 3 tasks" in capsys.readouterr().out
