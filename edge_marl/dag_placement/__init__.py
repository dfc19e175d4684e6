"""Placement of workflows on heterogeneous servers (the SCALE paper)."""
