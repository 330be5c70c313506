"""Families that were tried for `experiments.robots` and are not shipped."""

DROPPED = {
    "car-grip": (
        "a car of scale 1:10 that laps an oval on tyres of unknown friction (0.2 to 1), trim and "
        "payload. Its robust policy slows down where it sees itself drift: 15.5 m driven, 17.0 by "
        "a teacher, a gap of a tenth (one seed; the family is that of commit ebf03cf)"
    ),
    "quadruped-load (following velocities)": (
        "legs tell in one look nearly all that matters of load, floor and latency: after 5.4 "
        "million steps an oracle returns 232 and a robust policy 230 (one seed, commit a6f8bc9)"
    ),
    "quadruped-load (with a camera that is never mirrored)": (
        "a robust policy steers by its distance from the line, and returns the same whatever the "
        "compass shows. After 6.4 million steps an oracle returns 130, a robust policy 97, the gap "
        "33 [-23, 88] (three seeds); after 12.8 million both 130 in training (one seed each, "
        "commit 6e0da8b)"
    ),
    "quadruped-load (at a pace that only the reward tells)": (
        "a student returned 121 in its first episode, where an oracle returned 135 and a robust "
        "policy 63, and had adapted to nothing: it walked at 0.46 m/s whatever was asked, merely "
        "better than the robust policy had learned to (9.6 million steps of each teacher, one seed)"
    ),
    "quadruped-load (on or back along the line, which the reward tells)": (
        "two gaits take longer to learn than one: after 9.6 million steps an oracle returns 64, a "
        "robust policy 29 (one seed)"
    ),
    "quadruped-load (with a camera that may be mirrored, and joint targets for actions)": (
        "it learns to walk first: after 6.4 million steps an oracle returns 69 and a robust policy "
        "72 by the mean action (one seed). So a trot is given, whose strides the actions shape"
    ),
    "quadruped-motor": (
        "the same walk with weak legs and a dead hip. After 3.2 million steps an oracle returns "
        "23.0 in training and a robust policy 20.5, where the oracle of the robot with a load "
        "returns 74: it hardly walks, whoever knows (one seed, commit 1d133dc)"
    ),
}
"""Families that are not shipped, and why."""
