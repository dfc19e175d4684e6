"""Study cooperative offloading with resource allocation (the CTO-TP paper)."""
