"""Write one agent's actor as an ONNX file, and open such files."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_marl.algorithms.actors import Actor, decide, is_stochastic
from edge_marl.algorithms.networks import MASKED
from edge_marl.algorithms.networks.pointer import PointerNetwork

OBSERVATION, MASK, RANDOM, HIDDEN = "observation", "action_mask", "random", "hidden"
SCORES, ACTION, VECTOR, NEXT_HIDDEN = "scores", "action", "vector", "next_hidden"

Arrays = dict[str, NDArray[Any]]

TRACED_ROWS = 3
"""Any number but 0 and 1, which tracing takes for constants."""
_ABSENT = 0.2  # share of servers in random inputs that are not there


class LocalActor(nn.Module):
    """Decide on one node: map its own observation and mask to scores and an action.

    Args:
        actor: of one agent alone, see ``Actor.single``.
        sampled: whether actions are drawn from the softmax of the scores, see
            :func:`edge_marl.algorithms.actors.decide`.
    """

    def __init__(self, actor: Actor, *, sampled: bool = False) -> None:
        super().__init__()
        if len(actor.spec.agents) != 1:
            raise ValueError(f"expected the actor of one agent, found {actor.spec.agents}")
        self.actor = actor.eval()
        self.sampled = sampled

    def forward(
        self,
        observation: Tensor,
        action_mask: Tensor,
        random: Tensor | float = 0.5,
        hidden: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Decide for a batch of observations.

        Args:
            observation: ``[batch, *shape]`` float32, as the environment gives it.
            action_mask: ``[batch, A]`` bool, legal actions.
            random: ``[batch]`` uniform in [0, 1); only where something is drawn.
            hidden: ``[batch, H]`` memory, zeros at the start of an episode; recurrent only.

        Returns:
            ``[batch, A]`` scores (-1e9 for illegal actions), ``[batch]`` the action as it is taken
            in evaluation, ``[batch, d]`` its vector between the environment's bounds, if it has
            one, and the next memory of a recurrent actor.
        """
        features = observation.flatten(1)[:, None]
        memory = None if hidden is None else hidden[:, None]
        mask = action_mask[:, None]
        outputs, memory = self.actor(features, mask, memory)
        drawn = torch.as_tensor(random)[..., None]  # one agent
        decision = decide(self.actor, features, outputs, mask, drawn, sampled=self.sampled)
        scores, _ = self.actor.parts(outputs)
        found = [scores[:, 0].masked_fill(~action_mask, MASKED), decision.actions[:, 0]]
        if decision.vectors is not None:
            low, high = self.actor.lowest[0], self.actor.highest[0]
            found.append(low + decision.vectors[:, 0] * (high - low))
        return tuple(found) if memory is None else (*found, memory[:, 0])

    @property
    def draws(self) -> bool:
        """Return whether ``random`` is one of the inputs."""
        return is_stochastic(self.actor, sampled=self.sampled)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of what :meth:`forward` returns."""
        has_vector, has_memory = self.actor.spec.vector_size > 0, self.actor.is_recurrent
        return (SCORES, ACTION, *[VECTOR] * has_vector, *[NEXT_HIDDEN] * has_memory)

    @property
    def takes_any_number(self) -> bool:
        """Return whether any number N of servers fits: both inputs then have 1 + N along axis 1."""
        return self.actor.kind is PointerNetwork

    def random_inputs(self, rows: int, seed: int) -> Arrays:
        """Draw inputs of :meth:`forward` by name, with at least one legal action in every row."""
        spec, generator = self.actor.spec, np.random.default_rng(seed)
        observation = generator.normal(0, 20, (rows, *spec.observation_shape)).astype(np.float32)
        mask = generator.random((rows, spec.n_actions)) < 0.5
        mask[np.arange(rows), generator.integers(spec.n_actions, size=rows)] = True
        if self.takes_any_number:
            observation[:, 1:][generator.random(mask[:, 1:].shape) < _ABSENT] = 0.0
        inputs = {OBSERVATION: observation, MASK: mask}
        if self.draws:
            inputs[RANDOM] = generator.random(rows, dtype=np.float32)
        if self.actor.is_recurrent:
            size = (rows, self.actor.hidden_size)
            inputs[HIDDEN] = generator.uniform(-1, 1, size).astype(np.float32)
        return inputs

    @torch.inference_mode()
    def decide(self, inputs: Arrays) -> Arrays:
        """Apply :meth:`forward` to arrays by name, and return its outputs by name."""
        found = self(**{name: torch.from_numpy(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in zip(self.outputs, found, strict=True)}


class Session(Protocol):
    """Declare what is used of an ``onnxruntime.InferenceSession``."""

    def run(self, names: list[str] | None, inputs: Arrays) -> list[Any]:
        """Return the outputs in the order of ``names``, all when None."""
        ...


def write_onnx(actor: LocalActor, path: Path) -> None:
    """Write the graph for any batch size and, if it takes any number, for any number of servers."""
    inputs = actor.random_inputs(TRACED_ROWS, seed=0)
    batch = {0: torch.export.Dim("batch")}
    free = dict.fromkeys(inputs, batch)
    if actor.takes_any_number:
        either = batch | {1: torch.export.Dim("servers_and_task", min=2)}
        free |= {OBSERVATION: either, MASK: either}
    write_graph(actor, path, inputs, actor.outputs, free)


def write_graph(
    module: nn.Module,
    path: Path,
    inputs: Arrays,
    outputs: Sequence[str],
    free: Mapping[str, Mapping[int, Any]],
) -> None:
    """Write the graph of a module.

    Args:
        module: to trace.
        path: of the file.
        inputs: to trace it with, by name.
        outputs: their names.
        free: axes of the inputs that may have any size.
    """
    loud = logging.getLogger("torch.onnx")
    level = loud.level
    loud.setLevel(logging.ERROR)  # it warns of torchvision, which nobody needs here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                f=str(path),
                kwargs={name: torch.from_numpy(value) for name, value in inputs.items()},
                dynamo=True,
                external_data=False,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=free,
                verbose=False,
            )
    finally:
        loud.setLevel(level)
    _strip(path)


def _strip(path: Path) -> None:
    """Drop metadata on the sources and steps of this export, among it paths of this machine."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input,
                 *graph.output, *model.functions):  # fmt: skip
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.ClearField("metadata_props")
    graph.ClearField("value_info")
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def open_session(path: Path) -> Session:
    """Open the file in onnxruntime, on one thread: decisions are too small to share."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session: Session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    return session
