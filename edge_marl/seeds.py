"""Which seeds are whose, so that what is learned from and what is judged by never meet.

The seed of an episode is any integer below :data:`EPISODE_SEED_LIMIT`. A seed that a person gives,
on the command line or in a configuration, is one below :data:`SEED_LIMIT`.
"""

from __future__ import annotations

SEED_LIMIT = 2**31
EPISODE_SEED_LIMIT = 2**63

VALIDATION_SEEDS = range(2**28, 2**29)
"""Episodes that choose between weights, and therefore judge none of them."""

STUDY_LOG_SEEDS = range(2**29, 2**30)
"""Episodes of the logs that a study learns from."""

EVALUATION_SEEDS = range(2**30, 3 * 2**29)
"""Episodes that policies are judged by."""

GUARD_SEEDS = range(3 * 2**29, 2**31)
"""Episodes by which a training decides what it deploys."""

TRAINING_SEEDS = range(2**31, 2**32)
"""Episodes of reinforcement learning."""
