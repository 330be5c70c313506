"""Published results on Meta-World, and what differs from ours, as lines of Markdown."""

from __future__ import annotations

V2_PAPER = "Yu et al. 2019, arXiv:1910.10897v2"
ML10_PUBLISHED = {
    "maml-trpo": "success 44.4 % on training, 31.6 % on test classes",
    "rl2": "success 86.9 % on training, 35.8 % on test classes",
    "pearl": "success 23.2 % on training, 13 % on test classes",
}
"""Of the paper of version 2, by our names of the methods."""
PUBLISHED = (
    "Published, success on training and test classes:",
    "",
    "| source | benchmark | MAML | RL² | PEARL |",
    "|---|---|---|---|---|",
    f"| {V2_PAPER}, table 1: mean over classes of the *highest* success in training, 10 seeds "
    "| ML10 | 44.4, 31.6 % | 86.9, 35.8 % | 23.2, 13 % |",
    "| the same | ML1 reach, push, pick-place | a figure | a figure, the best "
    "| a figure, the worst |",
    "| Meta-World+ (NeurIPS 2025), read off a figure: interquartile means of 10 seeds, "
    "10 episodes of adaptation and 3 of test | ML10, test | about 35 % | about 35 % with rewards "
    "v2, 15 % with v1 | - |",
    "| Atamuradov 2025, arXiv:2511.12383 | ML10 | 21.0, 13.2 % | - | - |",
)
DIFFERENCES = (
    "What differs:",
    "",
    "- Simulator: package metaworld 3.0 on MuJoCo 4.0 here, goals of the benchmark's seed 0; all "
    "published numbers are from older MuJoCo. Its scripted policies succeed in 145 of 150 episodes "
    "here and in 146 on MuJoCo 3.3, over all 50 classes.",
    "- Rewards: version v2 here and in the paper's second version; Meta-World+ has both.",
    "- Budgets: those of the first table, on ML1 six minutes of a quiet core for each run, up to "
    "22 where three processes shared two cores. "
    "metaworld-algorithms trains MAML-TRPO for 2 million steps on ML1 and 15 million on ML10, RL² "
    "for 20 million on ML10. Settings are not tuned: sizes are by the speed of each method, and a "
    "few iterations of each were tried on reach, seed 0 (ProMP: in ten from 390 to 3,173 after "
    "adaptation, in training). After them the memories return on reach about "
    "as much with another goal's belief, and the oracles of push and pick-place (480,000 steps) "
    "have not learned their task. Longer trainings are not measured.",
    "- The goal is hidden in all of them. The memories here read rewards, as RL² does there.",
    "- Success is reached in *any* step of an episode, there and here, so that a hand which sweeps "
    "over the goals succeeds without adapting: read the returns, too. Episodes end at success in "
    "the package's own evaluation, and the first three that end count for a whole class; here no "
    "episode ends early, and all count.",
    "- Final policies of all seeds are measured here, by the mean action; the paper's table has "
    "the highest success of each run.",
)
