"""A trial that fails tries beliefs of training tasks, and goes on with the best one."""

import math
from dataclasses import replace

import gymnasium
import pytest
import torch
from support.tiny_memory import tiny_memory

import metarl
from metarl.deploy import MetaPolicy, adapt_to_task
from metarl.evaluation.adapting import on_top
from metarl.evaluation.evaluate import evaluate
from metarl.evaluation.hypotheses import (
    NO_HYPOTHESES,
    BeliefSearch,
    Hypotheses,
    hypotheses_at_hand,
    hypotheses_of,
    spread,
)
from metarl.methods.setup import family_of
from metarl.outer.teacher_student import TeacherStudent
from metarl_envs import InputError

THREE = Hypotheses({"h": torch.tensor([[10.0], [20.0], [30.0]])}, (-5.0, -2.0))


def belief(*values):
    """Beliefs of trials of one task, (1, E, 1)."""
    return {"h": torch.tensor(values).view(1, -1, 1)}


def lived(search, returns, ended):
    """The search after an episode with these returns, (E,), and what it began with."""
    begun, trying = search.next(THREE)
    after = search.after(THREE, trying, torch.tensor([returns]), belief(*ended))
    return begun["h"].flatten().tolist(), after


def test_a_lost_trial_tries_each_hypothesis_and_keeps_the_best():
    search = BeliefSearch.begin(belief(0.0, 0.0))
    # The first trial is as good as training tasks. The second falls below the usual first return.
    begun, search = lived(search, [-4.0, -9.0], [1.0, 1.5])
    assert begun == [0.0, 0.0]
    assert search.chosen(THREE)["h"].flatten().tolist() == [1.0, 1.5]
    begun, search = lived(search, [-1.0, -8.0], [2.0, 11.0])
    assert begun == [1.0, 10.0]
    assert search.chosen(THREE)["h"].flatten().tolist() == [2.0, 10.0]  # -8 is better than -9
    begun, search = lived(search, [-1.0, -3.0], [3.0, 21.0])
    assert begun == [2.0, 20.0]
    begun, search = lived(search, [-1.0, -7.0], [4.0, 31.0])
    assert begun == [3.0, 30.0]
    assert search.chosen(THREE)["h"].flatten().tolist() == [4.0, 20.0]
    # None is left to try: it begins with the best.
    begun, search = lived(search, [-1.0, -3.5], [5.0, 21.0])
    assert begun == [4.0, 20.0]
    assert search.chosen(THREE)["h"].flatten().tolist() == [5.0, 20.0]


def test_a_trial_whose_own_belief_is_best_goes_on_with_it():
    search = BeliefSearch.begin(belief(0.0))
    for returned, ended in ((-6.0, 1.0), (-9.0, 11.0), (math.nan, 21.0), (-8.0, 31.0)):
        _, search = lived(search, [returned], [ended])
    assert search.describe() == {"beliefs_tried": 3, "goes_on_with": "its own"}
    assert search.chosen(THREE)["h"].item() == 1.0
    begun, search = lived(search, [-1.0], [2.0])
    assert begun == [1.0]
    assert search.chosen(THREE)["h"].item() == 2.0


def test_an_episode_that_diverged_counts_as_lost():
    search = BeliefSearch.begin(belief(0.0))
    _, search = lived(search, [math.nan], [0.0])
    assert search.next(THREE)[0]["h"].item() == 10.0


def test_without_hypotheses_a_trial_keeps_its_belief_whatever_its_return():
    search = BeliefSearch.begin(belief(0.0))
    begun, trying = search.next(NO_HYPOTHESES)
    search = search.after(NO_HYPOTHESES, trying, torch.tensor([[-math.inf]]), belief(1.0))
    assert begun["h"].item() == 0.0
    assert search.next(NO_HYPOTHESES)[0]["h"].item() == search.chosen(NO_HYPOTHESES)["h"].item()
    assert search.chosen(NO_HYPOTHESES)["h"].item() == 1.0


def test_hypotheses_lie_far_apart_in_units_of_their_spread():
    features = torch.tensor([[0.0, 0.0], [1.0, 100.0], [1.0, 0.0], [0.9, 100.0], [0.0, 90.0]])
    chosen = spread(features.double(), 4).tolist()
    assert len(set(chosen)) == 4
    assert not {1, 3} <= set(chosen)  # neighbours
    assert len(spread(torch.zeros(3, 1).double(), 2)) == 1  # one task, one hypothesis


def within(horizon=6):
    """A policy of random weights that counts as trained to adapt within the episode."""
    saved = tiny_memory(horizon=horizon)
    outer = TeacherStudent()
    return replace(saved, config=replace(saved.config, method="teacher-student", outer=outer))


def test_hypotheses_are_beliefs_of_training_tasks():
    found = hypotheses_of(within())
    assert found.count == 16
    assert {name: value.shape[0] for name, value in found.beliefs.items()} == {
        "hidden": 16,
        "previous": 16,
    }
    assert len({tuple(row) for row in found.beliefs["hidden"].tolist()}) == 16
    assert all(math.isfinite(value) for value in found.usual)
    assert hypotheses_of(tiny_memory()) is NO_HYPOTHESES  # by gradient steps
    lost = within()
    assert hypotheses_at_hand(replace(lost, config=replace(lost.config, family="gone"))) is (
        NO_HYPOTHESES
    )


@pytest.fixture
def always_lost(monkeypatch):
    """Hypotheses of a policy, unlike each other, of which every trial has need."""

    def found(saved, *_):
        known = hypotheses_of(saved)
        if known is NO_HYPOTHESES:
            return known
        noise = torch.randn(known.beliefs["hidden"].shape, generator=torch.Generator())
        return Hypotheses(known.beliefs | {"hidden": 3 * noise}, (math.inf, math.inf))

    for place in ("evaluation.evaluate.hypotheses_of", "deploy.simulated.hypotheses_of"):
        monkeypatch.setattr(f"metarl.{place}", found)
    monkeypatch.setattr("metarl.deploy.adapt.hypotheses_at_hand", found)
    return found


def test_adapting_on_a_robot_and_in_simulation_tries_the_same(always_lost):
    saved, task = within(), {"goal": (0.3, -0.2)}
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0", max_episode_steps=6)
    env.reset(options={"task": task})
    adapted = MetaPolicy(saved).adapt(env, episodes=4)
    simulated = adapt_to_task(saved, family_of(saved.config).make_task(task), episodes=4)
    trials = [adapted.adapted["trial"], simulated.saved.metadata["adapted"]["trial"]]
    assert [trial["beliefs_tried"] for trial in trials] == [3, 3]
    assert trials[0]["returns"] == pytest.approx(trials[1]["returns"], rel=1e-4)
    assert trials[0]["goes_on_with"] == trials[1]["goes_on_with"]
    best = max(trials[0]["returns"])
    for name, value in adapted.saved.belief.items():
        torch.testing.assert_close(value, simulated.saved.belief[name], rtol=0, atol=1e-5)
    assert simulated.returns[1] == pytest.approx(best, rel=1e-3)  # navigation starts in one place
    assert "with 3 beliefs of other tasks tried" in str(adapted)
    assert "it tried 3 of their beliefs" in simulated.summary()
    sent = [
        {name: getattr(episode, name) for name in ("observations", "actions", "rewards")}
        for episode in adapted.episodes
    ]
    logged = metarl.adapt_from(MetaPolicy(saved), sent)  # by its own belief: the log is over
    assert logged.adapted["trial"]["beliefs_tried"] == 0


def test_a_stopped_episode_is_never_the_best(always_lost):
    from support.point_robot import Robot

    adapted = MetaPolicy(within()).adapt(
        Robot(), episodes=4, limits=metarl.Limits(min_return=-1e-6)
    )
    assert {episode.stopped for episode in adapted.episodes} == {"min_return"}
    assert adapted.adapted["trial"]["goes_on_with"] == "its own"


def test_the_check_is_of_the_belief_that_did_best_and_tries_no_other(always_lost):
    env = gymnasium.make("metarl_envs:MetaRL/Navigation-v0", max_episode_steps=6)
    env.reset(options={"task": {"goal": (0.3, -0.2)}})
    sizes = {"episodes": 4, "seed": 0}
    plain = MetaPolicy(within()).adapt(env, **sizes)
    env.reset(options={"task": {"goal": (0.3, -0.2)}})
    limits = metarl.Limits(check_episodes=3)
    checked = MetaPolicy(within()).adapt(env, **sizes, limits=limits).adapted
    assert checked["trial"]["beliefs_tried"] == plain.adapted["trial"]["beliefs_tried"] == 3
    assert checked["trial"]["goes_on_with"] == plain.adapted["trial"]["goes_on_with"]
    best = max(plain.adapted["trial"]["returns"])
    returns = checked["trial"]["returns"]
    assert len(returns) == 7
    assert returns[4] == pytest.approx(best, rel=1e-3)  # navigation starts in one place


def test_returns_of_training_are_of_episodes_as_long_as_on_the_robot(monkeypatch):
    asked = []

    def seen(saved):
        asked.append(saved.config.horizon)
        return NO_HYPOTHESES

    monkeypatch.setattr("metarl.deploy.adapt.hypotheses_at_hand", seen)
    metarl.AdaptationSession(MetaPolicy(within()), episodes=2, max_steps=4)
    metarl.AdaptationSession(MetaPolicy(within()), episodes=2)
    assert asked == [4, 6]


def test_an_evaluation_measures_what_an_adaptation_goes_on_with(always_lost):
    saved = within()
    sizes = {"splits": ("test",), "num_tasks": 6, "episodes_per_step": 5, "budgets": (1, 2)}
    searched = evaluate(saved, **sizes).splits[0].returns
    assert searched.shape == (4, 6)
    tried = searched[-1]  # after 5 episodes: the best of five beliefs
    assert (tried >= searched[1] - 0.01).all()  # initial states differ a little
    assert (tried > searched[1] + 0.05).any()


def test_steps_on_top_are_of_three_kinds_and_of_policies_with_a_memory():
    saved = within()
    assert MetaPolicy(saved).with_steps("head").saved.config.inner.inner_lr == 0.03
    with pytest.raises(InputError, match="did you mean head"):
        on_top(saved, "heads")
    with pytest.raises(InputError, match="maml-trpo brings its own adaptation"):
        on_top(tiny_memory(), "head")
    sizes = {"splits": ("test",), "num_tasks": 4, "episodes_per_step": 3, "budgets": ()}
    alone, both = (
        evaluate(one, **sizes).splits[0].returns for one in (saved, on_top(saved, "head"))
    )
    assert alone[0] == pytest.approx(both[0])
    assert abs(alone[1] - both[1]).max() > 1e-6
