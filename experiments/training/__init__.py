"""Train agents, as ``edge-marl train`` does: recipes, runs, checkpoints and logs."""
