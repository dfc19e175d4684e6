"""The kernel that draws traces; :class:`edge_marl.tandem.scenario.TandemWorkload` wires it."""

from __future__ import annotations

import math
from typing import Any

from edge_marl.compiled import compiled
from edge_marl.random_stream import normal_cdf, normal_quantile, uniform

# Counter j * DRAWS + i is draw i of job j, in order of arrival.
DRAWS = 8
GAP, APP, SIZE, COMPUTE, RUN, CODEC, RATE, SLACK = range(DRAWS)


@compiled(inline=True)
def quantile(table: Any, first: int, last: int, u: float) -> Any:
    """Entry of the quantile table ``table[first:last]`` at u, linear between entries."""
    x = u * (last - first - 1)
    i = min(int(x), last - first - 2)
    low = table[first + i]
    return low + (x - i) * (table[first + i + 1] - low)


@compiled
def draw_traces(
    seeds: Any,
    files: int,
    slot_s: float,
    poisson: bool,
    spread_s: float,
    slack_low: float,
    slack_high: float,
    downlink: int,
    segment_mb: Any,
    segment_s: Any,
    start: Any,
    run_ratio: Any,
    ratio_start: Any,
    copula: Any,
    hevc_share: float,
    paired: bool,
    rate_mbit_s: Any,
    step_s: float,
    step_correlation: float,
    file_mb_low: float,
    file_mb_high: float,
    file_fixed_s: float,
    file_s_per_mb: float,
    arrival: Any,
    comm: Any,
    comp: Any,
    deadline: Any,
    app: Any,
) -> None:
    """Fill the five ``[K, J]`` outputs; ``spread_s`` is the mean gap or the window in seconds."""
    n_traces, n_jobs = arrival.shape
    log_file_ratio = math.log(file_mb_high / file_mb_low)
    for k in range(n_traces):
        seed = seeds[k]
        files_left = files
        channel = 0.0
        clock = 0.0
        for j in range(n_jobs):
            at = j * DRAWS

            # Arrivals in order without sorting: of the m jobs still to come in what is left of
            # the window, the first comes after the share 1 - (1 - u)^(1 / m) of it.
            u = uniform(seed, at + GAP)
            before = clock
            if j > 0:
                if poisson:
                    clock -= spread_s * math.log(1.0 - u)
                else:
                    clock += (spread_s - clock) * (1.0 - (1.0 - u) ** (1.0 / (n_jobs - j)))

            # Each order of the applications is equally likely.
            is_file = uniform(seed, at + APP) * (n_jobs - j) < files_left
            if is_file:
                files_left -= 1
                size_mb = file_mb_low * math.exp(log_file_ratio * uniform(seed, at + SIZE))
                compute_s = file_fixed_s + file_s_per_mb * size_mb
            else:
                codec = 0 if uniform(seed, at + CODEC) < hevc_share else 1
                first, last = start[codec], start[codec + 1]
                u_size = uniform(seed, at + SIZE)
                if paired:
                    row = first + int(u_size * (last - first))
                    size_mb, compute_s = segment_mb[row], segment_s[row]
                else:
                    r = copula[codec]
                    z = r * normal_quantile(u_size) + math.sqrt(1.0 - r * r) * normal_quantile(
                        uniform(seed, at + COMPUTE)
                    )
                    size_mb = quantile(segment_mb, first, last, u_size)
                    compute_s = quantile(segment_s, first, last, normal_cdf(z))
                compute_s *= quantile(
                    run_ratio,
                    ratio_start[codec],
                    ratio_start[codec + 1],
                    uniform(seed, at + RUN),
                )

            z = normal_quantile(uniform(seed, at + RATE))
            if j == 0:
                channel = z
            else:
                phi = step_correlation ** ((clock - before) / step_s)
                channel = phi * channel + math.sqrt(1.0 - phi * phi) * z
            rate = quantile(rate_mbit_s, 0, len(rate_mbit_s), normal_cdf(channel))

            uplink_slots = max(1, math.ceil(8.0 * size_mb / rate / slot_s))
            compute_slots = max(1, math.ceil(compute_s / slot_s))
            slack = slack_low + (slack_high - slack_low) * uniform(seed, at + SLACK)
            # The job arrives within a slot and can be served from the next one on.
            arrival[k, j] = math.ceil(clock / slot_s)
            comm[k, j] = uplink_slots
            comp[k, j] = compute_slots
            deadline[k, j] = (
                arrival[k, j] + math.ceil(slack * (uplink_slots + compute_slots)) + downlink
            )
            app[k, j] = 0 if is_file else 1
