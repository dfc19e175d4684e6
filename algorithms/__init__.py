"""Train and load learned policies; importing this registers the environments with Ray.

``VDNConfig``, ``QMIXConfig``, ``MAPPOConfig``, ``O2OConfig``, ``SCALEConfig``, ``FAuNOConfig``,
``SCOFConfig``, ``MADQNConfig``, ``MADDPGConfig``, ``CTOConfig`` and ``DiscreteSACConfig`` are
configurations of RLlib algorithms, imported when they are first asked for.
"""

if __name__ != "edge_marl.algorithms":
    # Under its bare name every class would exist twice, once per name.
    raise ImportError("import this package as edge_marl.algorithms, not as algorithms")

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edge_marl.envs import register

if TYPE_CHECKING:
    from edge_marl.algorithms.cto import CTOConfig, MADDPGConfig, MADQNConfig
    from edge_marl.algorithms.fauno import FAuNOConfig
    from edge_marl.algorithms.mappo import MAPPOConfig
    from edge_marl.algorithms.o2o import O2OConfig
    from edge_marl.algorithms.sac import DiscreteSACConfig
    from edge_marl.algorithms.scale import SCALEConfig
    from edge_marl.algorithms.scof import SCOFConfig
    from edge_marl.algorithms.value_decomposition import QMIXConfig, VDNConfig

__all__ = [
    "CTOConfig",
    "DiscreteSACConfig",
    "FAuNOConfig",
    "MADDPGConfig",
    "MADQNConfig",
    "MAPPOConfig",
    "O2OConfig",
    "QMIXConfig",
    "SCALEConfig",
    "SCOFConfig",
    "VDNConfig",
]

_HOMES = {
    "CTOConfig": "edge_marl.algorithms.cto",
    "DiscreteSACConfig": "edge_marl.algorithms.sac",
    "FAuNOConfig": "edge_marl.algorithms.fauno",
    "MADDPGConfig": "edge_marl.algorithms.cto",
    "MADQNConfig": "edge_marl.algorithms.cto",
    "MAPPOConfig": "edge_marl.algorithms.mappo",
    "O2OConfig": "edge_marl.algorithms.o2o",
    "QMIXConfig": "edge_marl.algorithms.value_decomposition",
    "SCALEConfig": "edge_marl.algorithms.scale",
    "SCOFConfig": "edge_marl.algorithms.scof",
    "VDNConfig": "edge_marl.algorithms.value_decomposition",
}

register()
del register


def __getattr__(name: str) -> Any:
    # All of RLlib comes with a configuration: whoever imitates or loads an actor needs none of it.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
