"""Report what policies did on the same episodes as a table, a figure, Parquet and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from edge_marl.experiments import statistics
from edge_marl.experiments.machine import provenance
from edge_marl.experiments.publish import COLOURS, new_figure, number, save_figure
from edge_marl.experiments.statistics import Comparison, Estimate
from edge_marl.experiments.training.checkpoints import Checkpoint
from edge_marl.files import aside
from edge_marl.json_files import write_json

FloatArray = NDArray[np.float64]
Group = Literal["oracle", "heuristic", "learned"]


@dataclass(frozen=True)
class Played:
    """Hold the metrics of one policy on K episodes."""

    name: str
    group: Group
    metrics: Mapping[str, NDArray[Any]]
    """``[K]`` by name."""
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class Headline:
    """Describe the metric that policies are compared by."""

    metric: str
    higher_is_better: bool
    reference: str
    """The policy that the others are tested against."""
    shown: tuple[str, ...] | None = None
    """Further metrics of the table; all when None."""

    def cost(self, values: FloatArray) -> FloatArray:
        """Return the values, negated if higher is better, so that lower is better."""
        return -values if self.higher_is_better else values


@dataclass(frozen=True)
class Row:
    """Describe a policy, or checkpoints of several seeds together, in a row of the table."""

    name: str
    group: Group
    seeds: int
    mean: Estimate
    interquartile_mean: Estimate
    others: Mapping[str, float]
    """Means of the other metrics."""
    versus: Comparison | None
    """Against the reference; None for the reference itself, for what has fewer episodes, and where
    an episode of either lacks the metric."""


def summarise(played: Sequence[Played], headline: Headline) -> list[Row]:
    """Return one row per policy, and one more for checkpoints that differ in their seed alone."""
    reference = next(one for one in played if one.name == headline.reference)
    rows = [_row(one.name, [one], headline, reference) for one in played]
    by_recipe: dict[str, list[Played]] = {}
    for one in played:
        if one.checkpoint is not None:
            recipe = one.checkpoint.card.recipe.model_copy(update={"seed": 0})
            by_recipe.setdefault(recipe.model_dump_json(), []).append(one)
    for group in by_recipe.values():
        seeds = {one.checkpoint.card.recipe.seed for one in group if one.checkpoint is not None}
        if len(group) > 1 and len(seeds) == len(group):
            first = group[0].checkpoint
            assert first is not None
            name = f"{first.card.recipe.algorithm}, {len(group)} seeds"
            rows.append(_row(name, group, headline, reference))
    return rows


def _row(name: str, group: Sequence[Played], headline: Headline, reference: Played) -> Row:
    values = np.stack([one.metrics[headline.metric] for one in group]).astype(np.float64)
    others = {
        # Of the episodes that have it: without a success there is no delay, for one.
        metric: _mean_of_known([one.metrics[metric] for one in group])
        for metric in group[0].metrics
        if metric != headline.metric and all(metric in one.metrics for one in group)
    }
    versus = None
    baseline = reference.metrics[headline.metric][None].astype(np.float64)
    comparable = values.shape[1] == baseline.shape[1] and not (
        np.isnan(values).any() or np.isnan(baseline).any()
    )
    if list(group) != [reference] and comparable:
        versus = statistics.compare(headline.cost(values), headline.cost(baseline))
    return Row(
        name=name,
        group=group[0].group,
        seeds=len(group),
        mean=statistics.mean(values),
        interquartile_mean=statistics.interquartile_mean(values),
        others=others,
        versus=versus,
    )


def _mean_of_known(values: Sequence[NDArray[Any]]) -> float:
    """Return the mean of all values that are not NaN, or NaN if there is none."""
    known = np.concatenate(values).astype(np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if known.size else np.nan


def table(title: str, rows: Sequence[Row], headline: Headline) -> Table:
    """Format the rows as a table for the terminal."""
    made = Table(title=title, title_justify="left", title_style="bold")
    made.add_column("policy", min_width=12)
    every = dict.fromkeys(name for row in rows for name in row.others)
    others = list(every) if headline.shown is None else list(headline.shown)
    columns = [f"{headline.metric}\n[95%]", "IQM\n[95%]", *(_wrapped(name) for name in others)]
    for name in [*columns, f"better than\n{headline.reference} (p)"]:
        made.add_column(name, justify="right")
    for row in rows:
        made.add_row(
            row.name,
            row.mean.text("\n"),
            row.interquartile_mean.text("\n"),
            *(number(row.others[name]) if name in row.others else "" for name in others),
            "" if row.versus is None else row.versus.text(),
        )
    return made


def draw(rows: Sequence[Row], headline: Headline, title: str, path: Path) -> None:
    """Draw the means as bars with their 95% intervals."""
    figure, (ax,) = new_figure(1, 1, (2.0 + 0.7 * len(rows), 3.8))
    values = [row.mean for row in rows]
    ax.bar(
        range(len(rows)),
        [v.value for v in values],
        yerr=[[v.value - v.low for v in values], [v.high - v.value for v in values]],
        color=[COLOURS[row.group] for row in rows],
        capsize=3,
    )
    ax.set_xticks(range(len(rows)), [row.name for row in rows], rotation=35, ha="right", fontsize=7)
    ax.set(ylabel=headline.metric, title=title)
    save_figure(figure, path)


def write_episodes(played: Sequence[Played], path: Path) -> None:
    """Write a Parquet file with one row per policy and episode."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for one in played:
        n = len(next(iter(one.metrics.values())))
        card = one.checkpoint.card if one.checkpoint is not None else None
        who = {
            "policy": pa.array([one.name] * n, pa.string()),
            "group": pa.array([one.group] * n, pa.string()),
            "algorithm": pa.array([card and card.recipe.algorithm] * n, pa.string()),
            "seed": pa.array([card and card.recipe.seed] * n, pa.int64()),
            "episode": pa.array(range(n), pa.int64()),
        }
        metrics = {name: pa.array(values, pa.float64()) for name, values in one.metrics.items()}
        tables.append(pa.table({**who, **metrics}))
    with aside(path) as place:
        pq.write_table(pa.concat_tables(tables, promote_options="default"), place)


def write_summary(
    title: str, rows: Sequence[Row], played: Sequence[Played], headline: Headline, path: Path
) -> None:
    """Write a JSON file with everything in the table and where it comes from."""
    summary = {
        **provenance(),
        "episodes": title,
        "metric": headline.metric,
        "reference": headline.reference,
        "checkpoints": {
            one.name: {
                "folder": str(one.checkpoint.folder),
                "played_in": one.checkpoint.env_config,
                **one.checkpoint.card.model_dump(mode="json"),
            }
            for one in played
            if one.checkpoint is not None
        },
        "rows": [
            {
                "policy": row.name,
                "group": row.group,
                "seeds": row.seeds,
                "mean": row.mean._asdict(),
                "interquartile_mean": row.interquartile_mean._asdict(),
                **row.others,
                "versus": row.versus and row.versus._asdict(),
            }
            for row in rows
        ],
    }
    write_json(path, summary)


def _wrapped(name: str) -> str:
    return name.replace("_", "\n", 1)
