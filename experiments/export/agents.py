"""Export the actors of a checkpoint, one folder per agent, and check and time them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_marl.algorithms.actors import PARTS, WEIGHTS, Actor, save_actor
from edge_marl.experiments.export.onnx_files import (
    HIDDEN,
    MASK,
    OBSERVATION,
    RANDOM,
    VECTOR,
    Arrays,
    LocalActor,
    Session,
    open_session,
    write_onnx,
)
from edge_marl.experiments.training.checkpoints import Checkpoint
from edge_marl.files import aside

ONNX = "actor.onnx"
EXPORTED = (*PARTS, ONNX)
"""What the folder of an agent holds."""

_CHECKED_ROWS = 512
_TOLERANCE = 1e-4
"""Largest difference of scores, of their size: both compute in float32, in another order."""

_BELOW_ONE = 1.0 - 2.0**-24
"""The largest float32 that is less."""

_OTHER_SERVERS = 100

_TIMED_CALLS = 300

_LONGEST_NAME = 100


@dataclass(frozen=True)
class ExportedAgent:
    """Describe what was written for one agent, how exact it is and how fast."""

    agent: str
    folder: Path
    parameters: int
    onnx_bytes: int
    safetensors_bytes: int
    largest_difference: float
    """Between the scores of onnxruntime and of torch, relative to their size."""
    onnx_us: float
    """Median time of one decision in onnxruntime."""
    torch_us: float


def export_agent(checkpoint: Checkpoint, number: int, out: Path) -> ExportedAgent:
    """Write ``actor.onnx``, ``actor.safetensors`` and ``card.json`` of one agent.

    The folder appears only once onnxruntime has been found to decide as torch does.

    Args:
        checkpoint: the source.
        number: index of the agent.
        out: the agent's folder is made in it.

    Raises:
        InputError: if the folder exists and is not an export, or cannot be written.
        RuntimeError: if onnxruntime decides otherwise than torch.
    """
    agent = checkpoint.actor.spec.agents[number]
    folder = out / folder_names(checkpoint.actor.spec.agents)[number]
    sampled = checkpoint.card.recipe.acts_by_sampling
    local = LocalActor(checkpoint.actor.single(number), sampled=sampled)
    with aside(folder, parts=EXPORTED) as place:
        save_actor(local.actor, place, _card(checkpoint, local))
        write_onnx(local, place / ONNX)
        session = open_session(place / ONNX)
        difference = check(local, session)
        if local.takes_any_number:
            # At sizes that it was not traced with, too.
            more = LocalActor(local.actor.resized(_OTHER_SERVERS), sampled=sampled)
            difference = max(difference, check(more, session))
        one = local.random_inputs(1, seed=1)
        exported = ExportedAgent(
            agent=agent,
            folder=folder,
            parameters=sum(parameter.numel() for parameter in local.parameters()),
            onnx_bytes=(place / ONNX).stat().st_size,
            safetensors_bytes=(place / WEIGHTS).stat().st_size,
            largest_difference=difference,
            onnx_us=_median_us(lambda: session.run(None, one)),
            torch_us=_median_us(lambda: local.decide(one)),
        )
    return exported


def folder_names(agents: Sequence[str]) -> list[str]:
    """Return a unique folder name for each agent, as close to its own as file names allow."""
    names: list[str] = []
    for agent in agents:
        plain = re.sub(r"[^\w.-]+", "-", agent).strip(".")[:_LONGEST_NAME] or "agent"
        name, count = plain, 1
        while name.lower() in (other.lower() for other in names):  # some systems ignore case
            count += 1
            name = f"{plain}-{count}"
        names.append(name)
    return names


def check(local: LocalActor, session: Session) -> float:
    """Compare the decisions of onnxruntime and torch on random observations.

    An action may differ only where scores tie, or where rounding decides what is drawn.

    Returns:
        The largest difference of scores, relative to 1 plus the largest one of the row in
        magnitude, of vectors, relative to the distance of their bounds, or of memories.

    Raises:
        RuntimeError: if they differ by more than the tolerance.
    """
    inputs = local.random_inputs(_CHECKED_ROWS, seed=0)
    expected = local.decide(inputs)
    found: Arrays = dict(zip(local.outputs, session.run(None, inputs), strict=True))
    legal = inputs[MASK]
    size = 1.0 + np.abs(np.where(legal, expected["scores"], 0.0)).max(axis=1)
    difference = np.where(legal, np.abs(found["scores"] - expected["scores"]), 0.0).max(axis=1)
    decided = _same_near_by(local, inputs, expected["action"])
    chosen = np.take_along_axis(expected["scores"], found["action"][:, None], axis=1)[:, 0]
    loss = np.take_along_axis(expected["scores"], expected["action"][:, None], axis=1)[:, 0]
    lost = np.where(decided, np.abs(loss - chosen), 0.0)
    worst = float((np.maximum(difference, lost) / size).max())
    if VECTOR in expected:
        width = np.ptp(local.actor.spec.boxes[0], axis=1)
        error = np.abs(found[VECTOR] - expected[VECTOR]) / np.where(width > 0, width, 1.0)
        worst = max(worst, float(error.max()))
    if "next_hidden" in expected:
        worst = max(worst, float(np.abs(found["next_hidden"] - expected["next_hidden"]).max()))
    if not worst <= _TOLERANCE:
        raise RuntimeError(
            f"{local.actor.spec.agents[0]}: onnxruntime differs from torch by {worst:.2g} "
            f"(limit {_TOLERANCE:g})"
        )
    return worst


def _card(checkpoint: Checkpoint, local: LocalActor) -> dict[str, Any]:
    """Return what a node has to know besides the actor's own entries of the card."""
    actor, spec, card = local.actor, local.actor.spec, checkpoint.card
    observed: tuple[int | str, ...] = spec.observation_shape
    n_actions: int | str = spec.n_actions
    if local.takes_any_number:
        observed, n_actions = ("1 + servers", observed[1]), "servers + 1"
    inputs: dict[str, Any] = {
        OBSERVATION: {"shape": ["batch", *observed], "type": "float32",
                      "meaning": "as the environment gives it, not normalised"},
        MASK: {"shape": ["batch", n_actions], "type": "bool", "meaning": "legal actions"},
    }  # fmt: skip
    if local.draws:
        inputs[RANDOM] = {"shape": ["batch"], "type": "float32",
                          "meaning": "uniform in [0, 1), new for every decision"}  # fmt: skip
    if actor.is_recurrent:
        inputs[HIDDEN] = {"shape": ["batch", actor.hidden_size], "type": "float32",
                          "meaning": "zeros at first, then next_hidden"}  # fmt: skip
    outputs: dict[str, Any] = {"scores": "-1e9 for illegal actions", "action": _meaning(local)}
    if spec.boxes:
        outputs[VECTOR] = {"shape": ["batch", spec.vector_size], "type": "float32",
                           "meaning": "what belongs to the action, the mean of its distribution",
                           "bounds": spec.boxes[0]}  # fmt: skip
    return {
        "agent": spec.agents[0],
        "inputs": inputs,
        "outputs": outputs,
        "normalisation": _normalisation(actor),
        "training": {
            "recipe": card.recipe.model_dump(mode="json"),
            "iteration": card.iteration,
            "env_steps": card.env_steps,
            "evaluation": card.evaluation,
            "edge_marl_version": card.edge_marl_version,
            "policy_sha256": card.files,
        },
    }


def _same_near_by(local: LocalActor, inputs: Arrays, action: NDArray[Any]) -> NDArray[np.bool_]:
    """Return ``[batch]`` whether random numbers off by the tolerance draw the same actions."""
    same = np.ones(len(action), dtype=np.bool_)
    if local.draws:
        for error in (-_TOLERANCE, _TOLERANCE):
            near = inputs | {RANDOM: (inputs[RANDOM] + error).clip(0.0, _BELOW_ONE)}
            same &= local.decide(near)["action"] == action
    return same


def _meaning(local: LocalActor) -> str:
    """Say how the action is chosen."""
    if local.sampled:
        return "drawn by random from the softmax of the scores"
    if local.draws:
        return "the last, waiting, if random is below its probability, otherwise the best server"
    return "the best legal one"


def _normalisation(actor: Actor) -> dict[str, Any] | None:
    """Return the moments that the graph applies to the flattened observation, None without any."""
    if actor.normaliser is None:
        return None
    return {
        name: buffer[0].tolist() if buffer.ndim else buffer.item()
        for name, buffer in actor.normaliser.named_buffers()
    }


def _median_us(call: Callable[[], object]) -> float:
    """Return the median time of a call in microseconds, leaving out the first ones."""
    seconds = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(_TIMED_CALLS):
            begin = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)
    return 1e6 * float(np.median(seconds[_TIMED_CALLS // 10 :]))
