"""Export trained actors for the nodes that run them: ``edge-marl export``."""
