"""Meta-objectives: how pre- and post-adaptation rollouts move the meta-parameters."""
