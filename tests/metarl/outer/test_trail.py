"""The points behind an optimiser: steps ahead and back, where only tensors say which."""

from __future__ import annotations

import torch
from support.recorded_operations import Recording

from metarl.outer.trail import Trail

AHEAD, BACK = torch.tensor(False), torch.tensor(True)


def point(value):
    return {"w": torch.full((2, 3), value)}, {"count": torch.tensor(value)}


def value_of(trail):
    params, state = trail.last()
    assert params["w"].shape == (2, 3)
    assert state["count"].shape == ()
    assert (params["w"] == state["count"]).all()
    return float(state["count"])


def test_steps_ahead_and_back_are_those_of_a_stack():
    trail, seen = Trail(*point(0.0), room=5), []
    for value, unless in ((1.0, AHEAD), (2.0, AHEAD), (3.0, BACK), (4.0, AHEAD), (5.0, BACK)):
        trail.step(*point(value), unless=unless)
        seen.append((int(trail.steps), value_of(trail)))
    assert seen == [(1, 1.0), (2, 2.0), (1, 1.0), (2, 4.0), (1, 1.0)]
    trail.back()
    assert (int(trail.steps), value_of(trail)) == (0, 0.0)


def test_there_is_room_for_as_many_steps_as_were_said():
    trail = Trail(*point(0.0), room=2)
    for value in (1.0, 2.0):
        trail.step(*point(value), unless=AHEAD)
    trail.back()
    assert value_of(trail) == 1.0


def test_a_point_is_a_copy():
    trail = Trail(*point(0.0), room=1)
    trail.last()[0]["w"].fill_(9.0)
    assert value_of(trail) == 0.0


def test_nothing_waits_for_the_device():
    with Recording():  # raises where a value is asked for
        trail = Trail(*point(0.0), room=1)
        trail.step(*point(1.0), unless=AHEAD)
        trail.last()
