"""Train predictors of tasks, and compare them with simple methods: ``edge-marl predict``."""
