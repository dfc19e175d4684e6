"""Off-policy learning: a replay buffer of fragments, and the iteration that uses it."""
