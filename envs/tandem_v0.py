"""Offer the tandem system as a PettingZoo environment of two agents (paper, section 3.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, InstanceOf, model_validator

from edge_marl.envs.tandem_timeline import draw_timeline
from edge_marl.envs.views import ObsDict, SimulatorEnv
from edge_marl.options import Count, NotNegative, Options, Seed
from edge_marl.tandem.scenario import TandemWorkload
from edge_marl.tandem.simulator import (
    DROP_PENALTY,
    MAX_QUEUE,
    METRICS,
    Decisions,
    RewardConfig,
    TandemSimulator,
)
from edge_marl.tandem.traces import IntArray, TraceSet


class TandemConfig(Options):
    """Configure ``tandem_v0``."""

    workload: TandemWorkload = Field(
        default_factory=TandemWorkload, description="draws the trace of each episode"
    )
    traces: Path | InstanceOf[TraceSet] | None = Field(
        default=None, description="trace file, or set of traces, to replay instead of drawing"
    )
    max_queue: Count = Field(default=MAX_QUEUE, description="Q, jobs an agent sees")
    rewards: RewardConfig = Field(default_factory=RewardConfig)
    drop_penalty: NotNegative = Field(default=DROP_PENALTY, description="lambda, in slots")
    horizon: Count | None = Field(default=None, description="slots until truncation")
    decisions: Decisions = Field(default="slots", description="slots, or events: see simulator")
    seed: Seed = Field(default=0, description="seed of the first reset without one")
    render_mode: Literal["rgb_array"] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> TandemConfig:
        if self.traces is not None and "workload" in self.model_fields_set:
            raise ValueError("give either traces or a workload, not both")
        if self.decisions == "events" and self.render_mode is not None:
            raise ValueError("a timeline is drawn slot by slot: decisions=events has no rendering")
        return self


class TandemEnv(SimulatorEnv):
    """Schedule an uplink, ``comm``, and a compute server, ``comp``, by one decision per slot each.

    This is the view of one episode of :class:`edge_marl.tandem.simulator.TandemSimulator`, which
    holds all of the physics: jobs arrive at the uplink, are sent, computed and returned after a
    constant downlink; either stage may switch jobs in any slot; a job that can no longer meet
    its deadline is dropped from wherever it is.

    **Agents**: ``comm`` and ``comp``; both act in every slot until the episode ends for both.

    **Observation** of an agent, a dictionary of its own queue only:

    - ``observation``: float32 ``[Q, 5]``, the first Q jobs of the queue in order of entry, each
      ``[d - t, u_comm, u_comp, w_comm, w_comp]`` in slots: time to the deadline, remaining
      uplink and compute time, slots waited at the uplink and at the compute stage. Rows behind
      the last job are zero. Q is ``max_queue``; longer queues show their first Q jobs.
    - ``action_mask``: int8 ``[Q + 1]``, 1 for legal actions.

    **Action** ``Discrete(Q + 1)``: the position of the job to serve in this slot; Q idles, which
    is legal only on an empty queue. Anything else raises an error. With ``decisions="events"`` a
    step lasts until a queue has changed and there is a choice again.

    **State** (``state()``): float32 ``[2 * Q * 5]``, both queues, ``comm`` first.

    **Reward** (section 3.3), coefficients in ``rewards``: in each slot an agent loses ``alpha1``
    per slot that jobs of its own queue have waited and ``alpha2`` per such job projected to be
    late; ``comm`` also loses ``alpha3`` per job downstream projected to be late; on termination
    both receive ``-(beta1 * C_max + beta2 * N_drop)``.

    **End**: both agents terminate when every job has completed or been dropped, and are
    truncated after ``horizon`` slots if one is set.

    **Infos** are empty until the end, then hold for both agents: ``objective`` (slots,
    ``C_max + drop_penalty * N_drop``), ``makespan`` (slots), ``dropped`` (jobs), ``starvation``,
    ``comm_utilisation``, ``comp_utilisation`` (shares of the slots) and ``slots``.

    **Seeds**: ``reset(seed=s)`` starts the episode of seed s: the workload's trace of that seed,
    or trace ``s mod K`` of the trace set. Resets without a seed continue with seeds drawn from
    the last one; a new environment starts with ``seed`` of the configuration. ``options`` of
    ``reset`` are ignored.

    **Render**: with ``render_mode="rgb_array"``, the timeline so far as Figure 2 draws it,
    uint8 ``[height, width, 3]``.

    Raises:
        InputError: from the constructor for bad options and trace files, from ``step`` for an
            illegal or missing action or without an episode under way, from ``reset`` for a negative
            seed.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "tandem_v0",
        "render_modes": ["rgb_array"],
        "is_parallelizable": True,
    }
    Config = TandemConfig
    metrics = METRICS
    bounds = (0.0, np.inf)
    config: TandemConfig
    _simulator: TandemSimulator

    @classmethod
    def simulator(cls, config: TandemConfig, batch_size: int) -> TandemSimulator:
        """Make the simulator of ``batch_size`` episodes."""
        source = config.traces
        if isinstance(source, Path):
            # pyarrow is needed for this alone.
            from edge_marl.tandem.trace_files import read_traces

            source = read_traces(source)
        return TandemSimulator(
            source if source is not None else config.workload,
            batch_size=batch_size,
            max_queue=config.max_queue,
            drop_penalty=config.drop_penalty,
            rewards=config.rewards,
            horizon=config.horizon,
            decisions=config.decisions,
        )

    def __init__(self, config: TandemConfig | None = None) -> None:
        super().__init__(config)
        self.render_mode = self.config.render_mode
        self._served: list[tuple[int, int]] = []

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, ObsDict], dict[str, dict[str, Any]]]:
        """Start an episode; see the class on seeds."""
        self._served = []
        return super().reset(seed, options)

    def step(self, actions: dict[str, int]) -> Any:
        """Play one step with the actions of both agents."""
        if self.render_mode is None:
            return super().step(actions)
        queued = self._simulator.observation.jobs[0].copy()
        outcome = super().step(actions)
        self._served.append(self._jobs_served(queued))
        return outcome

    def render(self) -> NDArray[np.uint8] | None:
        """Draw the timeline so far as an RGB array; return None without a render mode."""
        if self.render_mode is None:
            return None
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        simulator = self._simulator
        figure = Figure(figsize=(8, 2.2), dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        served = np.array(self._served, dtype=np.int64).reshape(-1, 2)
        trace = simulator.traces[int(simulator.row[0])]
        missed = simulator.results.dropped_at[0] >= 0
        draw_timeline(figure.subplots(), served[:, 0], served[:, 1], trace, missed)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def _jobs_served(self, queued: IntArray) -> tuple[int, int]:
        """Return the jobs that the last actions picked from ``queued [2, Q]``, -1 for none."""
        Q = self.config.max_queue
        comm, comp = (
            int(queued[i, action]) if action < Q else -1
            for i, action in enumerate(self._actions[0])
        )
        return comm, comp


parallel_env = TandemEnv.make
batched_env = TandemEnv.make_batch
