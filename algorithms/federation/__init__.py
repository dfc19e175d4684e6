"""Federate learning: clients send updates of their networks, a manager aggregates them."""
