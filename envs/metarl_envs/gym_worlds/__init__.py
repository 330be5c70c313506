"""Other people's Gymnasium environments, in workers, with their faults told apart from ours."""
