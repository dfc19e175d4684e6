"""Offer the domain's simulators as PettingZoo environments, and register them with RLlib.

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
    "graph_offloading_v0": "edge_marl.envs.graph_offloading_v0",
    "cooperative_offloading_v0": "edge_marl.envs.cooperative_offloading_v0",
}
"""Name of each environment of a simulator, and the module with its ``parallel_env`` and
``batched_env``. Those of other packages join by :func:`add_environment`."""


def add_environment(name: str, module: str) -> None:
    """Add an environment of a simulator, such as one of another package, and register it with Ray.

    Args:
        name: of the environment.
        module: dotted name of the module with its ``parallel_env`` and ``batched_env``.
    """
    if ENVIRONMENTS.get(name) != module:
        ENVIRONMENTS[name] = module
        register()


def module_of(name: object) -> str | None:
    """Return the module of a simulator's environment by name; None for any other environment.

    A remote worker has not run the code that added the environments of other packages; there, as
    everywhere, Ray's registry knows them.
    """
    if not isinstance(name, str) or name in ENVIRONMENTS:
        return ENVIRONMENTS.get(str(name))
    from ray.tune.registry import ENV_CREATOR, _global_registry

    from edge_marl.envs.rllib import Creator

    if not _global_registry.contains(ENV_CREATOR, name):
        return None
    creator = _global_registry.get(ENV_CREATOR, name)
    return creator.module if isinstance(creator, Creator) else None


def register() -> None:
    """Register every environment with Ray, so that ``PPOConfig().environment(name)`` works.

    Say ``.multi_agent(policies=..., policy_mapping_fn=...)`` for agents that decide by themselves;
    without it one controller decides for all, see :class:`edge_marl.envs.rllib.RegisteredEnv`.
    ``env_config`` takes the options of the environment's ``parallel_env`` and ``flatten``, see
    :class:`edge_marl.envs.rllib.Creator`. Calling this again is harmless.
    """
    from ray.tune.registry import register_env

    from edge_marl.envs import rllib

    for name, module in ENVIRONMENTS.items():
        register_env(name, rllib.Creator(module))
