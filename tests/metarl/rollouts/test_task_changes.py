"""Tasks that change in the midst of a trial."""

import torch

from metarl.methods.config import with_settings
from metarl.methods.families import recipe
from metarl.methods.setup import family_of, policy_of, training_env
from metarl.policies.params import expand
from metarl.rollouts.collect import Collector
from metarl.rollouts.stepping import TaskChange
from metarl.rollouts.trials import collect_trial

T, AT = 6, 8


def lived(change):
    """Two episodes of three worlds, with a change of the task or without."""
    config = with_settings(
        recipe("half-cheetah-reversed", "rl2"),
        {"meta_batch_size": 3, "horizon": T, "engine": "cpu", "sim_threads": 1},
    )
    family, policy = family_of(config), policy_of(config)
    collector = Collector(training_env(config, 3, 1), policy)
    params = policy.init(torch.Generator().manual_seed(0))
    tasks = family.sample_tasks(3, torch.Generator().manual_seed(1), "train")
    others = family.sample_tasks(3, torch.Generator().manual_seed(2), "train")
    begun = policy.begin(expand(params, 3), 1)
    streams = torch.Generator().manual_seed(3), torch.Generator().manual_seed(4)
    change = (AT, TaskChange(others)) if change else None
    experience = collect_trial(
        collector, params, tasks, family.task_features, 2, *streams, begun, change
    )
    return experience, family, tasks, others


def test_steps_before_a_change_are_the_same_to_the_bit_and_later_ones_differ():
    changed, _, _, _ = lived(True)
    unchanged, _, _, _ = lived(False)
    after, before = changed.trial.observations, unchanged.trial.observations
    assert torch.equal(after[:, :, : AT + 1], before[:, :, : AT + 1])
    moved = (after[:, :, AT + 1] != before[:, :, AT + 1]).any(-1)
    assert moved.all()


def test_the_features_of_a_trial_are_those_of_the_task_at_each_step():
    changed, family, tasks, others = lived(True)
    features = changed.trial.features[0]
    expected = family.task_features(tasks).float(), family.task_features(others).float()
    assert torch.equal(features[:, :AT], expected[0].unsqueeze(1).expand(-1, AT, -1))
    assert torch.equal(features[:, AT:], expected[1].unsqueeze(1).expand(-1, 2 * T - AT, -1))
    assert changed.tasks == others
    assert lived(False)[0].tasks == tasks
