"""Define what the kinds of actor networks have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from edge_marl.errors import InputError

if TYPE_CHECKING:
    from edge_marl.algorithms.networks.config import NetworkConfig
    from edge_marl.algorithms.networks.grouped import GroupedLinear
    from edge_marl.algorithms.networks.spec import ActorSpec


class ActorNetwork(nn.Module):
    """Define what a kind expects, how it is built and how its outputs become actions.

    A kind with a head (:attr:`has_head`) maps ``x [R, N, F + n_ids]`` and ``groups`` to
    ``[R, N, n_out]``, from which the actor's last layer makes the outputs; there may be a memory
    between the two. A kind without one gives the outputs itself: it maps ``rows [R, N, n, F]``
    (an observation before flattening), ``legal [R, N, A - 1]``, ``ids [..., N, n_ids]`` and
    ``groups`` to outputs ``[R, N, A]`` and the representation ``[R, N, d]`` they are made from.
    """

    description: ClassVar[str]
    """Says for the command line's help which observations the kind is for."""
    attribute: ClassVar[str]
    """Name of the actor's attribute that holds the network, and so of its weights in files."""
    has_head: ClassVar[bool] = False
    fits_any_observation: ClassVar[bool] = False
    """Whether observations are taken flat, so that identities can be a part of them."""
    fits_any_size: ClassVar[bool] = False
    """Whether the weights are the same for any number of servers, or of jobs."""
    gives_log_probabilities: ClassVar[bool] = False
    """Whether outputs mean nothing but the logarithms of probabilities: they are no values."""
    is_stochastic: ClassVar[bool] = False
    """Whether a deployed actor draws a part of its decision, see :meth:`greedy`."""

    @classmethod
    def check(
        cls, network: NetworkConfig, observation_shape: Sequence[int], n_actions: int
    ) -> None:
        """Refuse observations, actions or options that this kind is not for.

        Raises:
            InputError: naming the option, what was expected and what was found.
        """

    @classmethod
    def of_spec(cls, spec: ActorSpec, n_groups: int) -> Any:
        """Build the network of an actor, with ``n_groups`` sets of parameters."""
        raise NotImplementedError

    def with_head(self, x: Tensor, head: GroupedLinear, groups: Tensor | None) -> Tensor:
        """Return the outputs ``[R, N, A]`` of network and head, with no memory between them."""
        outputs: Tensor = head(self(x, groups), groups)
        return outputs

    @staticmethod
    def greedy(masked: Tensor, random: Tensor | float) -> Tensor:
        """Return the actions ``[...]`` to take by outputs ``[..., A]``, never a forbidden one.

        Args:
            masked: outputs, ``MASKED`` where an action is forbidden.
            random: ``[...]`` uniform in [0, 1), which decides where a kind :attr:`is_stochastic`.
        """
        return masked.argmax(-1)


def check_task_and_servers(
    network: NetworkConfig, observation_shape: Sequence[int], n_actions: int
) -> None:
    """Refuse observations that are not a row of a task and one for each of N servers.

    Raises:
        InputError: naming what was found.
    """
    shape = observation_shape
    if len(shape) != 2 or shape[0] < 2 or n_actions != shape[0]:
        raise InputError(
            f"network.kind: {network.kind} expects a task and N servers, observations "
            f"[1 + N, F] and N + 1 actions; found {list(shape)} and {n_actions}"
        )


def check_widths(network: NetworkConfig, heads: int) -> None:
    """Refuse attention blocks that differ in width, or whose width ``heads`` does not divide.

    Raises:
        InputError: naming what was found.
    """
    if len(set(network.hidden_sizes)) > 1 or network.hidden_sizes[0] % heads:
        raise InputError(
            f"network.hidden_sizes: expected blocks of one width, a multiple of {heads}, for "
            f"{network.kind}, found {list(network.hidden_sizes)}"
        )
