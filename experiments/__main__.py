"""``python -m edge_marl.experiments`` is the command line ``edge-marl``."""

from edge_marl.experiments.cli import main

main()
