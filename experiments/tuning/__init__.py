"""Search for options: ``edge-marl tune``."""
