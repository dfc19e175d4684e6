"""Learned policies and their training; importing this registers the environments with Ray."""

if __name__ != "edge_marl.algorithms":
    # Under its bare name every class would exist twice, once per name.
    raise ImportError("import this package as edge_marl.algorithms, not as algorithms")

from edge_marl.envs import register

register()
del register
