"""Learn from logs instead of from an environment."""
