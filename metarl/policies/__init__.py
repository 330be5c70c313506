"""Policies: pure functions of named parameters, with a belief about the task."""

from metarl.policies.base import PolicyConfig
from metarl.policies.context import ContextConfig
from metarl.policies.frame_stack import FrameStackConfig
from metarl.policies.memory import MemoryConfig
from metarl.policies.mlp import MlpConfig
from metarl.policies.planning import PlanningConfig

POLICIES: dict[str, type[PolicyConfig]] = {
    "mlp": MlpConfig,
    "frame-stack": FrameStackConfig,
    "memory": MemoryConfig,
    "context": ContextConfig,
    "planning": PlanningConfig,
}
"""Settings of every kind of policy, by the name that configurations use."""
