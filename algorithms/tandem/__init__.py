"""Extend the general algorithms for the tandem: queue networks and imitation of its oracles."""
