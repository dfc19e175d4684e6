"""Configuration that the multi-agent algorithms share."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided

from edge_marl.algorithms.core.options import check_options
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.algorithms.networks.spec import ParameterSharing
from edge_marl.algorithms.sampling.batched_env_runner import BatchedEnvRunner
from edge_marl.algorithms.sampling.means import EPISODE_MEAN, EpisodeMeanStats
from edge_marl.envs.batched import BatchedEnv
from edge_marl.errors import InputError
from edge_marl.memory import check_memory
from edge_marl.validation import check_name, invalid, shown


class JointConfig(AlgorithmConfig):
    """An AlgorithmConfig whose algorithm samples in batches and holds all agents in one module.

    A mixin: put it before the configuration of the RLlib algorithm that is extended.
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class)
        self.parameter_sharing: ParameterSharing = "shared"
        self.network = NetworkConfig()
        self.observation_normalisation = False
        self.reward_scaling = False
        self.team_reward = "auto"  # an option of subclasses
        self.api_stack(enable_rl_module_and_learner=True, enable_env_runner_and_connector_v2=True)
        self.env_runners(
            env_runner_cls=BatchedEnvRunner,
            num_env_runners=0,
            num_envs_per_env_runner=64,
            rollout_fragment_length=32,
        )
        self.reporting(
            custom_stats_cls_lookup={**self.stats_cls_lookup, EPISODE_MEAN: EpisodeMeanStats}
        )
        # Fragments are ready batches: there are no episodes to transform.
        self.add_default_connectors_to_learner_pipeline = False
        self.framework_str = "torch"

    def training(
        self,
        *,
        parameter_sharing: ParameterSharing = NotProvided,
        network: NetworkConfig | Mapping[str, Any] = NotProvided,
        observation_normalisation: bool = NotProvided,
        reward_scaling: bool = NotProvided,
        **kwargs: Any,
    ) -> JointConfig:
        """Set training options.

        Args:
            parameter_sharing: "shared" (one network for all agents), "independent" (one each) or
                the name of each agent's group.
            network: of every agent; a mapping changes the named fields only.
            observation_normalisation: by running mean and variance, part of the weights. What
                networks over queues see is never normalised: they scale job features themselves.
            reward_scaling: divide rewards by their running standard deviation, part of the
                checkpoint.
            kwargs: options of the algorithm, and RLlib's.

        Raises:
            InputError: for a network that is none, and for an unknown option.
        """
        known = option_names(self)
        for name in kwargs:
            check_name(name, known)
        super().training(**kwargs)
        if parameter_sharing is not NotProvided:
            self.parameter_sharing = parameter_sharing
        if network is not NotProvided:
            if not isinstance(network, NetworkConfig | Mapping):
                raise InputError(f"network: expected options of networks, found {shown(network)}")
            fields = network.model_dump() if isinstance(network, NetworkConfig) else dict(network)
            try:
                self.network = NetworkConfig.model_validate({**self.network.model_dump(), **fields})
            except ValidationError as error:
                raise invalid(error, "network.") from None
        if observation_normalisation is not NotProvided:
            self.observation_normalisation = observation_normalisation
        if reward_scaling is not NotProvided:
            self.reward_scaling = reward_scaling
        return self

    def validate(self) -> None:
        """Check types and ranges of all options; subclasses add what has to fit together.

        Raises:
            InputError: naming the option, what was expected and what was found.
        """
        check_options(self)
        super().validate()

    def check(self, *checks: tuple[str, bool, str]) -> None:
        """Refuse the first option that is not as it should be.

        Args:
            checks: option, whether it is fine, what is expected.

        Raises:
            InputError: naming the option, what was expected and what was found.
        """
        for name, fine, expected in checks:
            if not fine:
                raise InputError(f"{name}: expected {expected}, found {shown(getattr(self, name))}")

    @property
    def uses_state(self) -> bool:
        """Whether the global state is looked at; where it is not, it is not even asked for."""
        return True

    def team_reward_in(self, env: BatchedEnv) -> str:
        """How the reward of the team is made of those of the agents.

        Args:
            env: the environment, any number of episodes of it.

        Returns:
            "sum"; "shared", where every agent is paid the team's; or "own", where nobody asks.

        Raises:
            InputError: for an option that contradicts the environment.
        """
        found, shared = self.team_reward, env.shared_reward
        if found == "auto":
            return "shared" if shared else "sum"
        for contradiction, pays in (("sum", True), ("shared", False)):
            if found == contradiction and shared is pays:
                paid = "the team's reward" if pays else "its own reward"
                raise InputError(
                    f"team_reward: expected 'auto' in an environment that pays every agent {paid}, "
                    f"found {found!r}"
                )
        return found

    def check_sampled(self, env: BatchedEnv) -> None:
        """Refuse fragments or a replay that do not fit into memory, and rewards of another kind.

        Args:
            env: the environment, any number of episodes of it.

        Raises:
            InputError: naming the options that decide.
        """
        self.team_reward_in(env)
        step_bytes = sum(part.nbytes for part in env.observation) / env.batch_size
        # One step of all episodes is taken whatever an algorithm keeps.
        for needed in (JointConfig.memory_needed, type(self).memory_needed):
            check_memory(*needed(self, step_bytes))

    def memory_needed(self, step_bytes: float) -> tuple[float, str]:
        """Estimate from below what is sampled and kept; algorithms say it for themselves.

        Args:
            step_bytes: of what all agents of one episode see in one step.

        Returns:
            Bytes, and what takes them, with the option that decides how many.
        """
        n_episodes = self.num_envs_per_env_runner
        return n_episodes * step_bytes, f"{n_episodes} episodes at once (num_envs_per_env_runner)"

    @property
    def fixed_options(self) -> dict[str, Any]:
        """Options with which a checkpoint has to be restored, as text of JSON can hold them.

        All others may be changed between two parts of a training.
        """
        return {
            "network": self.network.model_dump(mode="json"),
            "parameter_sharing": self.parameter_sharing,
            "observation_normalisation": self.observation_normalisation,
        }

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | {
            "network": self.network.model_dump(),
            "parameter_sharing": self.parameter_sharing,
            "observation_normalisation": self.observation_normalisation,
        }


def option_names(config: AlgorithmConfig) -> list[str]:
    """Names that ``config.training(...)`` takes, those of all its base classes included."""
    names: dict[str, None] = {}
    for cls in type(config).__mro__:
        method = cls.__dict__.get("training")
        if method is None:
            continue
        for name, parameter in inspect.signature(method).parameters.items():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                names.setdefault(name)
    return list(names)
