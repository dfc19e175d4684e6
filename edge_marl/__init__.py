"""Apply multi-agent reinforcement learning to scheduling at the network edge.

The folder ``edge_marl/`` itself is the domain layer (simulators, workloads, heuristics,
oracle) and imports neither Ray nor torch. The layers above it live in the top-level
folders ``envs``, ``algorithms`` and ``experiments`` of a checkout and are imported as
``edge_marl.envs``, ``edge_marl.algorithms`` and ``edge_marl.experiments`` everywhere.
"""

from pathlib import Path

__version__ = "0.1.0"

_here = Path(__file__).resolve().parent
if not (_here / "envs").is_dir():
    # A checkout (or a copy of one on a Ray worker): the upper layers are our siblings.
    # An installed wheel carries them inside this folder and needs no help.
    __path__.append(str(_here.parent))

del Path
