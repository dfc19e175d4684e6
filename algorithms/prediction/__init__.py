"""Predict when the next task of a server arrives and what it demands (CTO-TP paper)."""
