"""What the multi-agent algorithms share: configuration, module, learner, algorithm."""
