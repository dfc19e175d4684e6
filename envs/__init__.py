"""Environments: PettingZoo views of the domain's simulators, and their way into RLlib.

``edge_marl.envs.tandem_v0.parallel_env(...)`` makes one directly. :func:`register` makes all of
them known to RLlib under their names; importing ``edge_marl.algorithms`` does so too.
"""

if __name__ != "edge_marl.envs":
    # Under its bare name every class would exist twice, once per name.
    raise ImportError("import this package as edge_marl.envs, not as envs")

ENVIRONMENTS = {
    "tandem_v0": "edge_marl.envs.tandem_v0",
    "peer_offloading_v0": "edge_marl.envs.peer_offloading_v0",
    "dag_placement_v0": "edge_marl.envs.dag_placement_v0",
}
"""Name of each environment and the module whose ``parallel_env`` makes it."""


def add_environment(name: str, module: str) -> None:
    """Add an environment of a simulator, be it of another package, and register it with Ray.

    Args:
        name: of the environment.
        module: with its ``parallel_env`` and ``batched_env``.
    """
    if ENVIRONMENTS.get(name) != module:
        ENVIRONMENTS[name] = module
        register()


def register() -> None:
    """Register every environment with Ray, so that ``PPOConfig().environment(name)`` works.

    Say ``.multi_agent(policies=..., policy_mapping_fn=...)`` for agents that decide by themselves;
    without it one controller decides for all, see :class:`edge_marl.envs.rllib.RegisteredEnv`.
    ``env_config`` takes the options of the environment's ``parallel_env`` and ``flatten``, see
    :func:`edge_marl.envs.rllib.create`. Calling this again is harmless.
    """
    from functools import partial

    from ray.tune.registry import register_env

    from edge_marl.envs import rllib

    for name, module in ENVIRONMENTS.items():
        register_env(name, partial(rllib.create, module))
