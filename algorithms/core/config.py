"""Configure what the multi-agent algorithms share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from edge_marl.algorithms.core.options import JointOptions, Mark, set_documentation
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.algorithms.sampling.batched_env_runner import BatchedEnvRunner
from edge_marl.algorithms.sampling.means import EPISODE_MEAN, EpisodeMeanStats
from edge_marl.envs.batched import BatchedEnv
from edge_marl.errors import InputError
from edge_marl.memory import check_memory
from edge_marl.validation import check_name, invalid, shown

_LEARNERS = ("learner_class", "learner_config_dict")
"""Options of RLlib's own ``training()`` that count here too: another class of learners, and what it
is told. All others either are fields of the models of options or would change nothing."""


class JointConfig(AlgorithmConfig):
    """Configure an algorithm that samples in batches and holds all agents in one module.

    This works as a mixin: put it before the configuration of the RLlib algorithm that is extended.
    A subclass names its model of options, whose fields become attributes, and the classes that it
    builds.
    """

    options_model: ClassVar[type[JointOptions]] = JointOptions
    algorithm_class: ClassVar[type | None] = None
    joint_learner_class: ClassVar[type | None] = None
    joint_module_class: ClassVar[type | None] = None
    learns_vectors: ClassVar[bool] = False
    """Whether it learns actions that are, or have, a vector in a box."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "training" in cls.__dict__:  # a subclass elsewhere, with options that it sets itself
            return

        def training(self: Any, **options: Any) -> Any:
            return self._set_training(options)

        training.__doc__ = JointConfig.training.__doc__
        set_documentation(training, cls.options_model)
        setattr(cls, "training", training)  # noqa: B010

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or self.algorithm_class)
        self.api_stack(enable_rl_module_and_learner=True, enable_env_runner_and_connector_v2=True)
        self.env_runners(env_runner_cls=BatchedEnvRunner, num_env_runners=0)
        self.reporting(
            custom_stats_cls_lookup={**self.stats_cls_lookup, EPISODE_MEAN: EpisodeMeanStats}
        )
        # The thread that would log the machine's load sleeps for up to 0.7 s when it is to stop.
        self.debugging(log_sys_usage=False)
        # Fragments are ready batches: there are no episodes to transform.
        self.add_default_connectors_to_learner_pipeline = False
        self.framework_str = "torch"
        for name, default in self.options_model.defaults().items():
            setattr(self, name, default)

    def training(self, **options: Any) -> Self:
        """Set options of training; those not given stay as they are.

        Raises:
            InputError: for an invalid network, and for an unknown option.
        """
        return self._set_training(options)

    def _set_training(self, options: Mapping[str, Any]) -> Self:
        own = self.options_model.model_fields
        for name in options:
            check_name(name, [*own, *_LEARNERS])
        super().training(**{name: options[name] for name in _LEARNERS if name in options})
        for name, value in options.items():
            if name in own and value is not NotProvided:
                setattr(self, name, self._network_with(value) if name == "network" else value)
        return self

    def update_from_dict(self, config_dict: Mapping[str, Any]) -> Self:
        """Set attributes, as Ray Tune does to merge the parameters of a trial into a configuration.

        Args:
            config_dict: values by name; of a network the fields that change suffice.

        Raises:
            InputError: for an invalid network.
        """
        changes = dict(config_dict)
        # RLlib would hand these to ``training()``: they are no options here, but attributes of
        # every configuration, and so in what ``to_dict()`` returns.
        for name in ("model", "optimizer"):
            if name in changes:
                setattr(self, name, changes.pop(name))
        if "network" in changes:
            self._set_training({"network": changes.pop("network")})
        return super().update_from_dict(changes)

    def _network_with(self, changes: Any) -> NetworkConfig:
        """Return the network with some fields changed.

        Raises:
            InputError: for changes that give no valid network.
        """
        if not isinstance(changes, NetworkConfig | Mapping):
            raise InputError(f"network: expected options of networks, found {shown(changes)}")
        fields = changes.model_dump() if isinstance(changes, NetworkConfig) else dict(changes)
        try:
            return NetworkConfig.model_validate({**self.network.model_dump(), **fields})
        except ValidationError as error:
            raise invalid(error, "network.") from None

    def validate(self) -> None:
        """Check types and ranges of all options, and whether they fit together.

        Raises:
            InputError: naming the option, what was expected and what was found.
        """
        self.options_model.of(self)
        super().validate()

    @property
    def uses_state(self) -> bool:
        """Return whether the global state is used; if not, the environment is not asked for it."""
        return True

    def team_reward_in(self, env: BatchedEnv) -> str:
        """Return how the reward of the team is made from those of the agents.

        Args:
            env: the environment, any number of episodes of it.

        Returns:
            "sum"; "shared", where every agent is paid the team's; or "own", where none is needed.

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
        """Refuse actions and rewards that the algorithm cannot learn, and what fits no memory.

        Args:
            env: the environment, any number of episodes of it.

        Raises:
            InputError: naming the options that decide.
        """
        if env.action_spec.boxes and not self.learns_vectors:
            raise InputError(
                "env: expected discrete actions, found actions in a box; MAPPO, IPPO, FAuNO, "
                "MADDPG and CTO learn these, too"
            )
        self.team_reward_in(env)
        self.check_reward_delay(env.reward_delay)
        step_bytes = sum(part.nbytes for part in env.observation) / env.batch_size
        # One step of all episodes is taken whatever an algorithm keeps.
        for needed in (JointConfig.memory_needed, type(self).memory_needed):
            check_memory(*needed(self, step_bytes))

    def check_reward_delay(self, delay: int) -> None:
        """Refuse rewards that are paid some steps after the actions that they are for.

        Algorithms that can credit them to these actions override this.

        Raises:
            InputError: if there is a delay.
        """
        if delay:
            raise InputError(
                f"env: expected one that pays rewards at once, found one that pays them {delay} "
                "steps after the actions that they are for"
            )

    def memory_needed(self, step_bytes: float) -> tuple[float, str]:
        """Estimate from below the memory for what is sampled and kept; algorithms override this.

        Args:
            step_bytes: of what all agents of one episode see in one step.

        Returns:
            Bytes, and what takes them, with the option that decides how many.
        """
        n_episodes = self.num_envs_per_env_runner
        return n_episodes * step_bytes, f"{n_episodes} episodes at once (num_envs_per_env_runner)"

    def get_default_learner_class(self) -> Any:
        """Return the class of the algorithm's learner."""
        return self.joint_learner_class

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Return the spec of the algorithm's module, which holds all agents."""
        return RLModuleSpec(module_class=self.joint_module_class)

    @property
    def fixed_options(self) -> dict[str, Any]:
        """Return the options that a checkpoint has to be restored with, as JSON can hold them.

        All others may be changed between two parts of a training.
        """
        names = self.options_model.marked(Mark.FIXED)
        fixed: dict[str, Any] = to_jsonable_python({name: getattr(self, name) for name in names})
        return fixed

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        names = self.options_model.marked(Mark.MODULE)
        told = {name: getattr(self, name) for name in names}
        return super()._model_config_auto_includes | told | {"network": self.network.model_dump()}
