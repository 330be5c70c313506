"""An exported policy with onnxruntime and numpy alone: observations in, one a line, actions out.

python run_onnx.py policy.onnx < observations.txt
"""

import json
import sys

import numpy as np
import onnxruntime


class OnnxPolicy:
    """Observations (O,) or (N, O) to actions (A,) or (N, A); `about` says what they are."""

    def __init__(self, path: str) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.about = dict(self.session.get_modelmeta().custom_metadata_map)

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        rows = np.atleast_2d(np.asarray(observation, dtype=np.float32))
        size, names = (
            self.session.get_inputs()[0].shape[1],
            self.about.get("metarl.observation_names"),
        )
        if rows.ndim != 2 or rows.shape[1] != size:
            raise ValueError(f"observation of {rows.shape[-1]} numbers: must be {size}: {names}")
        if not np.isfinite(rows).all():
            raise ValueError(
                f"observation {observation}: must be finite; no action follows from it"
            )
        actions = np.asarray(self.session.run(None, {"observation": rows})[0])
        return actions.reshape(*np.shape(observation)[:-1], -1)


if __name__ == "__main__":
    policy = OnnxPolicy(sys.argv[1])
    for name in ("dt_s", "horizon", "observation_names", "action_names"):
        print(name, json.loads(policy.about.get(f"metarl.{name}") or "null"), file=sys.stderr)
    for line in sys.stdin:
        try:
            print(*policy(np.array(line.split(), dtype=np.float32)), flush=True)
        except ValueError as error:
            sys.exit(f"run_onnx: {error}")
