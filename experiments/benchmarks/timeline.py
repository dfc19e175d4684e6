"""Draw when learners of single agents work, and when they wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_marl.experiments.publish import new_figure, save_figure


def timeline(
    ways: Mapping[str, Sequence[Mapping[str, Any]]], path: Path, *, longest_s: float
) -> None:
    """Draw the turns of every agent's learner as bars, one row for each way of training.

    Args:
        ways: turns of a training as :func:`.read_turns` gives them, by its name; what is later than
            ``longest_s`` after the first of them is left out.
        path: of the picture.
        longest_s: what is drawn, in seconds.
    """
    figure, axes = new_figure(len(ways), 1, (8.4, 1.7 * len(ways) + 0.4))
    for axis, (name, turns) in zip(axes, ways.items(), strict=True):
        first_s = min((turn["began_s"] for turn in turns), default=0.0)
        agents = sorted({turn["agent"] for turn in turns})
        for agent in agents:
            # Neighbouring turns differ in colour, or they would look like one.
            for parity, color in enumerate(("tab:blue", "tab:cyan")):
                bars = [
                    (turn["began_s"] - first_s, turn["ended_s"] - turn["began_s"])
                    for turn in turns
                    if turn["agent"] == agent
                    and turn["version"] % 2 == parity
                    and turn["began_s"] - first_s < longest_s
                ]
                axis.broken_barh(bars, (agent - 0.4, 0.8), color=color)
        axis.set_yticks(agents, [f"learner {agent}" for agent in agents])
        axis.set_xlim(0.0, longest_s)
        axis.set_title(name, fontsize=10)
    axes[-1].set_xlabel("seconds")
    save_figure(figure, path)
