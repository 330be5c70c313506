"""An exported policy with onnxruntime and numpy alone: observations in, one a line, actions out.

python run_onnx.py policy.onnx < observations.txt
"""

import sys

import numpy as np
import onnxruntime


class OnnxPolicy:
    """Observations (O,) or (N, O) to actions (A,) or (N, A)."""

    def __init__(self, path: str) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        rows = np.atleast_2d(np.asarray(observation, dtype=np.float32))
        if not np.isfinite(rows).all():
            raise ValueError(
                f"observation {observation}: must be finite; no action follows from it"
            )
        actions = np.asarray(self.session.run(None, {"observation": rows})[0])
        return actions.reshape(*np.shape(observation)[:-1], -1)


if __name__ == "__main__":
    policy = OnnxPolicy(sys.argv[1])
    for line in sys.stdin:
        print(*policy(np.array(line.split(), dtype=np.float32)), flush=True)
