"""An exported policy with onnxruntime and numpy alone: observations in, one a line, actions out.

python run_onnx.py policy.onnx < observations.txt

A policy with a memory learns about the robot meanwhile. Behind the observation a line may hold the
reward of the last action, and then 1 if that step ended an episode.
"""

import hashlib
import json
import sys

import numpy as np
import onnxruntime


class OnnxPolicy:
    """Observations (O,) or (N, O) to actions (A,) or (N, A); `about` says what they are."""

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            content = file.read()
        if hashlib.sha256(content[:-64]).hexdigest().encode() != content[-64:]:
            raise ValueError(f"{path}: is not as `metarl export` wrote it; export or copy it anew")
        self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self.about = dict(self.session.get_modelmeta().custom_metadata_map)
        self.size = self.session.get_inputs()[0].shape[1]
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.begin()

    def begin(self) -> None:
        """Begin a trial: a memory forgets what it learned."""
        start = json.loads(self.about.get("metarl.start") or "{}")
        self.state = {name: np.array([value], np.float32) for name, value in start.items()}
        self.waiting = False  # for the reward of the last action

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        rows = np.atleast_2d(np.asarray(observation, dtype=np.float32))
        if rows.ndim != 2 or rows.shape[1] != self.size:
            names = self.about.get("metarl.observation_names")
            raise ValueError(
                f"observation of {rows.shape[-1]} numbers: must be {self.size}: {names}"
            )
        if not np.isfinite(rows).all():
            raise ValueError(
                f"observation {observation}: must be finite; no action follows from it"
            )
        if self.waiting:
            raise ValueError("the reward of the last action is missing: policy.observe(reward)")
        each = {
            name: np.array(np.broadcast_to(value, (len(rows), *value.shape[1:])))
            for name, value in self.state.items()
        }
        values = map(np.asarray, self.session.run(None, {"observation": rows, **each}))
        found = dict(zip(self.outputs, values, strict=True))
        for name in self.state:
            self.state[name] = found.get(f"{name}.next", 0 * each[name])
        if self.state:
            self.state["last_action"] = found["action"]
        self.waiting = "last_reward" in self.state
        return found["action"].reshape(*np.shape(observation)[:-1], -1)

    def observe(self, reward: float = 0.0, episode_end: float = 0.0) -> None:
        """Take the outcome of the last action, one or (N,): after each if the policy reads rewards.

        If not, only at the end of an episode.
        """
        for name, value in (("last_reward", reward), ("episode_end", episode_end)):
            if name in self.state:
                self.state[name] = np.reshape(np.float32(value), (-1, 1)) + 0 * self.state[name]
        self.waiting = False


if __name__ == "__main__":
    try:
        policy = OnnxPolicy(sys.argv[1])
    except (OSError, ValueError) as error:
        sys.exit(f"run_onnx: {error}")
    for name in ("dt_s", "horizon", "observation_names", "action_names"):
        print(name, json.loads(policy.about.get(f"metarl.{name}") or "null"), file=sys.stderr)
    for line in sys.stdin:
        try:
            numbers = np.array(line.split(), dtype=np.float32)
            size = policy.size if policy.state else len(numbers)
            if len(numbers) > size:
                policy.observe(*numbers[size:])
            print(*policy(numbers[:size]), flush=True)
        except ValueError as error:
            sys.exit(f"run_onnx: {error}")
