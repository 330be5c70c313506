"""The README of a policy folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metarl.methods.baselines import BASELINES, IMPORTED, origins
from metarl.methods.config import TrainConfig
from metarl.versions import versions


def model_card(config: TrainConfig, family: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """A short README for people: what it is, what it was trained on, how to use it."""

    def row(p: Mapping[str, Any]) -> str:
        beyond = f" or {p['extrapolation']} (extrapolation)" if p["extrapolation"] else ""
        cells = (p["name"], p["unit"], f"{p['train']} (train){beyond}", p["description"])
        # A bar would end the cell: ranges such as "|p| <= 2" have some.
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    parameters = "\n".join(row(parameter) for parameter in family["parameters"])
    shown = {key: value for key, value in metadata.items() if key != "observations"}  # are long
    noted = "\n".join(f"- {key}: {value}" for key, value in shown.items())
    used = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"""# metarl policy: {family["name"]}

{_how_trained(config)} in simulation only, seed {config.seed}.

| task parameter | unit | range | meaning |
|-|-|-|-|
{parameters}

{noted}

Use: `metarl.load("this folder")`, or `metarl adapt THIS_FOLDER --task name=value`.

`config.json` holds the complete configuration; the weights are `model.safetensors`.
Written by {used}.
"""


def _how_trained(config: TrainConfig) -> str:
    if config.method in BASELINES:
        return f"A baseline for comparison, {BASELINES[config.method].title},"
    title = origins()[config.method].title
    if config.method in IMPORTED:
        return f"A policy trained with {title} by Stable-Baselines3 and converted; trained"
    adapts = f"{config.adaptation_steps} adaptation\nsteps"
    if config.outer.within_episode:
        adapts = "adapts within\nthe episode"
    return f"A policy meta-trained with {title} ({adapts})"
