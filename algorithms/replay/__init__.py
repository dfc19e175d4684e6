"""Learn off-policy: a replay buffer keeps fragments, and every iteration learns from samples."""
