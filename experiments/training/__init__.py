"""Training of agents: ``edge-marl train``."""
