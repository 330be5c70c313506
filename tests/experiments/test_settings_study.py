"""The guides' tables of settings are those of the file beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.settings_study import VARIANTS, row_text

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
ROWS = json.loads((EXPERIMENTS / "results" / "settings.json").read_text())["rows"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['family'][:10]} {row['variant']}")
def test_a_row_stands_in_its_guide_as_measured(row):
    chosen = "task_choice" in row["variant"]
    guide = EXPERIMENTS / "guides" / ("model_based.md" if chosen else "settings.md")
    assert row_text(row) in guide.read_text().splitlines()


def test_the_choice_of_tasks_is_said_to_cost_what_it_costs():
    page = " ".join((EXPERIMENTS / "guides" / "model_based.md").read_text().split())
    more = {row["variant"]: row.get("more_than_unchanged") for row in ROWS}
    named = [variant.name for variant in VARIANTS["task-choice"][1:]]
    fixed, worst, progress = (more[name] for name in named)
    assert "costs nothing that is sure ({:.0f} [{:.0f}, {:.0f}])".format(*fixed) in page
    assert f"costs {-worst[0]:.0f} [{-worst[2]:.0f}, {-worst[1]:.0f}]:" in page
    assert "too much to say ({:.0f} [{:.0f}, {:.0f}])".format(*progress) in page
