"""What meta-learning is measured against: policies trained by Stable-Baselines3, and no policy.

`recipes` names the baselines; `vec_env`, `conversion` and `training`
import Stable-Baselines3 (the extra `sb3`), so nothing else imports them at its top.
"""
