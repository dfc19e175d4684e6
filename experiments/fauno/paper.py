"""Look up the figures of the FAuNO paper that ours stand beside.

They are in ``paper.yaml``, as printed. The paper's are means over the 40 episodes of one training,
learning included (section 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from edge_marl.experiments.fauno.config import Cell

Figures = Mapping[Cell, float]

LEAST_QUEUES, SCOF, FAUNO, MAPPO = "least_queues", "scof", "fauno", "mappo"
"""Methods, as the file calls them."""

NAMES = {LEAST_QUEUES: "Least Queues", SCOF: "SCOF", FAUNO: "FAuNO", MAPPO: "MAPPO"}
"""How the paper calls them; its MAPPO is an oracle, which learns with the sparse reward."""

_MAIN = (2, 3, 4, 5)
_ORACLE = (22, 23, 24, 25)


@cache
def records() -> tuple[Mapping[str, Any], ...]:
    """Return one record of every number that the paper prints in Tables 2 to 25."""
    text = Path(__file__).with_name("paper.yaml").read_text(encoding="utf-8")
    return tuple(yaml.safe_load(text)["records"])


@cache
def figures(method: str, metric: str, tables: Sequence[int] = ()) -> Figures:
    """Return a metric of a method by topology and lambda.

    Args:
        method: as the file calls it.
        metric: ``finished_ratio`` or ``response_ticks``.
        tables: their numbers; by default Tables 2 to 5, and 22 to 25 of MAPPO.
    """
    tables = tables or (_ORACLE if method == MAPPO else _MAIN)
    return {
        Cell(record["topology"], float(record["lambda"])): record["mean"]
        for record in records()
        if record["table"] in tables and (record["method"], record["metric"]) == (method, metric)
    }


def disagreement(lost: float) -> tuple[str, str]:
    """Return delta among FAuNO's critics and from the oracle's, by the share of lost updates.

    Where all are lost they are those of Table 7, others of Table 6; a dash for what is not given.
    """
    found = {
        (record["table"], record["method"]): f"{record['mean']:g}"
        for record in records()
        if record["metric"] == "disagreement" and record["drop_rate"] == lost
    }
    if lost == 1.0:
        return found[7, "marl_vs_marl"], found[7, "oracle_vs_marl"]
    return found[6, "fauno_vs_fauno"], found[6, "fauno_vs_oracle"]
