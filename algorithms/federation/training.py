"""Train clients in simulated time: the parts of an algorithm that know of the federation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.core import DEFAULT_MODULE_ID
from torch import Tensor

from edge_marl.algorithms.core.blocks import BlockAlgorithm, BlockLearner
from edge_marl.algorithms.core.learner import Terms
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.simulation import Travel

_FEDERATION = "federation"


class FederatedAlgorithm(BlockAlgorithm):
    """Extend an algorithm whose learner is a :class:`FederatedLearner`."""

    def setup(self, config: Any) -> None:
        """Build env runners and the clients, and connect these by the environment's network."""
        super().setup(config)
        (found,) = self.learner_group.foreach_learner(lambda own: own.federation.shared.n_bytes)
        self._n_bytes = found.get()
        travel = self.env_runner.env.travel(self._n_bytes)
        folder = Path(self.logdir) / "federation"
        self.learner_group.foreach_learner(lambda own: own.connect(travel, folder))
        if self.config.shares_links:
            self._measured()  # before it has begun

    def learn_from(self, *args: Any, **kwargs: Any) -> Any:
        """Learn, with updates that take as long as they did while the train batch was played."""
        if self.config.shares_links:
            travel = self._measured()
            self.learner_group.foreach_learner(lambda own: own.federation.take(travel))
        return super().learn_from(*args, **kwargs)

    def _measured(self) -> Travel:
        """Return how long messages took on links that they share with tasks, and go on measuring.

        A runner that has taken the place of a lost one begins with it here.
        """
        config, n_bytes, group = self.config, self._n_bytes, self.env_runner_group
        runners = max(1, group.num_remote_env_runners())
        episodes = config.num_envs_per_env_runner * runners
        every = config.share_every * max(1, config.total_train_batch_size // episodes)
        found = group.foreach_env_runner(
            lambda runner: runner.env.travel(n_bytes, every),
            local_env_runner=not group.num_remote_env_runners(),
        )
        return Travel(*(np.mean(ticks, axis=0) for ticks in zip(*found, strict=True)))


class FederatedLearner(BlockLearner):
    """Extend a learner of agents that learn alone: let the federation go on with every train batch.

    The time of the federation is that of an episode: a train batch with T steps of each of the
    episodes that are played at once takes T ticks.
    """

    federation: Any
    options: Any
    """Of the algorithm, among them those of :class:`.options.ClientOptions`."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Make clients and federation, which draw no number that sampling would miss."""
        super().configure_optimizers_for_module(module_id, config)
        self.options = config.options_model.of(config)
        self.federation = self.make_federation(self.block.seeds[0] % 2**31)

    def connect(self, travel: Travel, folder: Path) -> None:
        """Connect the clients with their manager, before they train.

        Args:
            travel: how many ticks an update takes, and a version.
            folder: for what the manager keeps on disk.
        """
        self.federation.connect(travel)

    def make_federation(self, seed: int) -> Any:
        """Return the federation of the block's clients, such as a :class:`SimulatedFederation`."""
        raise NotImplementedError

    def learn_alone(
        self, columns: dict[str, Tensor], trains: NDArray[np.bool_], **how: Any
    ) -> list[Terms]:
        """Let those clients learn that train, ``[N]``; the rest is as for :meth:`learn`."""
        raise NotImplementedError

    def learn(self, columns: dict[str, Tensor], **how: Any) -> list[Terms]:
        """Take over versions, train, send updates, and let the federation work meanwhile."""
        config = self.config
        episodes = config.num_envs_per_env_runner * max(1, config.num_env_runners)
        ticks = max(1, columns[Fragment.VALID].numel() // episodes)
        trains = self.federation.before(ticks)
        history = self.learn_alone(columns, trains, **how)
        self.federation.after(trains, ticks)
        self.report()
        return history

    def report(self) -> None:
        """Log what can be said of all updates."""
        self.metrics.log_dict(self.federation.report(), key=DEFAULT_MODULE_ID, window=1)

    # Checkpoints ---------------------------------------------------------------------------

    def own_state(self) -> dict[str, Any]:
        """Return the states of the clients and of the federation."""
        return super().own_state() | {_FEDERATION: self.federation.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        super().set_state(state)
        if _FEDERATION in state:
            self.federation.set_state(state[_FEDERATION])
