"""Draw traces in a compiled kernel for :class:`edge_marl.tandem.scenario.TandemWorkload`."""

from __future__ import annotations

import math
from typing import Any

from edge_marl.compiled import compiled
from edge_marl.random_stream import normal_cdf, normal_quantile, uniform

# Counter j * DRAWS + i is draw i of job j, in order of arrival.
DRAWS = 8
GAP, APP, SIZE, COMPUTE, RUN, CODEC, RATE, SLACK = range(DRAWS)


@compiled(entry=True, inline=True)
def quantile(table: Any, first: int, last: int, u: float) -> Any:
    """Return the value of the quantile table ``table[first:last]`` at u, linear between entries."""
    x = u * (last - first - 1)
    i = min(int(x), last - first - 2)
    low = table[first + i]
    return low + (x - i) * (table[first + i + 1] - low)


@compiled(entry=True)
def draw_traces(seeds: Any, parameters: Any, tables: Any, traces: Any) -> None:
    """Draw a trace from each of the ``seeds [K]`` into ``traces``."""
    n_traces, n_jobs = traces.arrival.shape
    slack_low = parameters.slack_low
    log_file_ratio = math.log(tables.file_mb_high / tables.file_mb_low)
    for k in range(n_traces):
        seed = seeds[k]
        files_left = parameters.files
        channel = 0.0
        clock = 0.0
        for j in range(n_jobs):
            at = j * DRAWS

            # Arrivals in order without sorting: of the m jobs still to come in what is left of
            # the window, the first comes after the share 1 - (1 - u)^(1 / m) of it.
            u = uniform(seed, at + GAP)
            before = clock
            if j > 0:
                if parameters.poisson:
                    clock -= parameters.spread_s * math.log(1.0 - u)
                else:
                    clock += (parameters.spread_s - clock) * (
                        1.0 - (1.0 - u) ** (1.0 / (n_jobs - j))
                    )

            # Each order of the applications is equally likely.
            is_file = uniform(seed, at + APP) * (n_jobs - j) < files_left
            if is_file:
                files_left -= 1
                size_mb = tables.file_mb_low * math.exp(log_file_ratio * uniform(seed, at + SIZE))
                compute_s = tables.file_fixed_s + tables.file_s_per_mb * size_mb
            else:
                codec = 0 if uniform(seed, at + CODEC) < tables.hevc_share else 1
                first, last = tables.start[codec], tables.start[codec + 1]
                u_size = uniform(seed, at + SIZE)
                if tables.paired:
                    row = first + int(u_size * (last - first))
                    size_mb, compute_s = tables.size_mb[row], tables.compute_s[row]
                else:
                    r = tables.copula[codec]
                    z = r * normal_quantile(u_size) + math.sqrt(1.0 - r * r) * normal_quantile(
                        uniform(seed, at + COMPUTE)
                    )
                    size_mb = quantile(tables.size_mb, first, last, u_size)
                    compute_s = quantile(tables.compute_s, first, last, normal_cdf(z))
                compute_s *= quantile(
                    tables.run_ratio,
                    tables.ratio_start[codec],
                    tables.ratio_start[codec + 1],
                    uniform(seed, at + RUN),
                )

            z = normal_quantile(uniform(seed, at + RATE))
            if j == 0:
                channel = z
            else:
                phi = tables.step_correlation ** ((clock - before) / tables.step_s)
                channel = phi * channel + math.sqrt(1.0 - phi * phi) * z
            rate = quantile(tables.rate_mbit_s, 0, len(tables.rate_mbit_s), normal_cdf(channel))

            uplink_slots = max(1, math.ceil(8.0 * size_mb / rate / parameters.slot_s))
            compute_slots = max(1, math.ceil(compute_s / parameters.slot_s))
            u_slack = uniform(seed, at + SLACK)
            slack = slack_low + (parameters.slack_high - slack_low) * u_slack
            # The job arrives within a slot and can be served from the next one on.
            traces.arrival[k, j] = math.ceil(clock / parameters.slot_s)
            traces.comm[k, j] = uplink_slots
            traces.comp[k, j] = compute_slots
            due = traces.arrival[k, j] + math.ceil(slack * (uplink_slots + compute_slots))
            traces.deadline[k, j] = due + parameters.downlink
            traces.app[k, j] = 0 if is_file else 1
