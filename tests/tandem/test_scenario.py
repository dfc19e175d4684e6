"""Traces follow their profile, their configuration and their own seed only."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_marl.errors import InputError
from edge_marl.random_stream import normal_cdf, normal_quantile, uniform
from edge_marl.tandem.measure import StorageModel, fit_storage, measure_storage
from edge_marl.tandem.profile import _correlation as correlation
from edge_marl.tandem.profile import measure_profile, read_profile, shipped_profile
from edge_marl.tandem.scenario import TandemWorkload
from edge_marl.tandem.splits import SPLITS, split_seeds, split_traces
from edge_marl.tandem.traces import JOB_FIELDS

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
TRANSCODING = DATA / "transcoding_times" / "heterogeneous_machines_runs.csv"
UPLINKS = DATA / "5g_uplink_mtu"
STATIC_5G = UPLINKS / "cleaned_Data5G_static5G_070322.csv"

needs_public_files = pytest.mark.skipif(
    not (TRANSCODING.is_file() and UPLINKS.is_dir()),
    reason="the public measurement files are not at ../shared/data",
)
WORD = 2**64 - 1
SNAPSHOT = [
    [0, 4, 15, 47, 1],
    [2, 9, 1, 29, 0],
    [5, 5, 6, 41, 1],
    [8, 3, 6, 31, 1],
    [9, 13, 1, 40, 0],
    [14, 12, 1, 42, 0],
]


def splitmix64(value):
    """Reference in Python's integers (Steele, Lea and Flood, 2014)."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & WORD
    return value ^ (value >> 31)


def ranks(values):
    return values.argsort().argsort()


def steady_uplink(folder, mbit_s=8.0):
    """An uplink that always has the same rate; 8 Mbit/s carry one MB a second."""
    path = folder / "steady.csv"
    rows = [f"Thu Aug 11 13:42:{second:02d} UTC 2022,{mbit_s}" for second in range(0, 30, 3)]
    path.write_text("\n".join(["Time,RATE(MBit/s)", *rows]) + "\n")
    return path


# Random streams


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**40))
def test_a_draw_is_splitmix64_of_seed_and_counter(seed, counter):
    golden = 0x9E3779B97F4A7C15
    start = splitmix64((seed + golden) & WORD)
    word = splitmix64((start + (counter + 1) * golden) & WORD)
    assert uniform(np.int64(seed), np.int64(counter)) == (word >> 11) / 2**53


def test_draws_are_uniform_and_unrelated_between_neighbouring_seeds_and_counters():
    draws = np.array([[uniform(seed, i) for i in range(40)] for seed in range(1000)])
    assert 0 <= draws.min() < draws.max() < 1
    assert draws.mean() == pytest.approx(0.5, abs=0.01)
    assert draws.var() == pytest.approx(1 / 12, abs=0.003)
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 0.1
    assert abs(np.corrcoef(draws[0], draws[1])[0, 1]) < 0.5
    assert abs(np.corrcoef(draws[:-1].ravel(), draws[1:].ravel())[0, 1]) < 0.02


def test_the_normal_quantile_inverts_the_distribution_function():
    for u in np.linspace(0, 0.999, 200):
        assert normal_cdf(normal_quantile(u)) == pytest.approx(u, abs=5e-4)
    assert math.isfinite(normal_quantile(0.0))
    assert math.isfinite(normal_quantile(1 - 2**-53))


# Traces and seeds


@settings(max_examples=30)
@given(
    files=st.integers(0, 5),
    videos=st.integers(1, 5),
    slot_s=st.floats(0.05, 1),
    arrivals=st.sampled_from(["window", "poisson"]),
    downlink=st.integers(0, 4),
    seeds=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5),
)
def test_every_configuration_draws_valid_traces(files, videos, slot_s, arrivals, downlink, seeds):
    workload = TandemWorkload(
        files=files, videos=videos, slot_s=slot_s, arrivals=arrivals, downlink_slots=downlink
    )
    traces = workload.sample(seeds)
    traces.validate("drawn")
    assert (traces.arrival[:, 0] == 0).all()
    assert ((traces.app == 0).sum(axis=1) == files).all()
    assert (traces.n_jobs == files + videos).all()
    # Alone, a job always meets its deadline.
    alone = traces.arrival + traces.comm + traces.comp + downlink
    assert (traces.deadline >= alone).all()
    one = workload.sample(seeds[-1:])
    for name in JOB_FIELDS:
        assert (getattr(one, name)[0] == getattr(traces, name)[-1]).all(), name


def test_the_first_default_trace_stays_what_it_is():
    trace = TandemWorkload().make(1, seed=0)
    rows = np.stack([getattr(trace, name)[0] for name in JOB_FIELDS], axis=1).tolist()
    assert rows == SNAPSHOT


def test_other_seeds_give_other_traces():
    traces = TandemWorkload().make(200)
    assert len({row.tobytes() for row in np.hstack([traces.comm, traces.comp])}) > 195


def test_seeds_must_be_a_list():
    with pytest.raises(InputError, match="expected a list"):
        TandemWorkload().sample(np.zeros((2, 2), dtype=np.int64))


# Values computed by hand


def test_a_file_of_known_size_on_a_steady_uplink(tmp_path):
    workload = TandemWorkload(
        files=2, videos=0, slot_s=0.5, window_s=0, uplink=steady_uplink(tmp_path),
        file_mb=(3, 3), file_fixed_s=0.25, file_s_per_mb=0.5, slack=(2, 2), downlink_slots=3,
    )  # fmt: skip
    traces = workload.make(5)
    # 3 MB at 1 MB/s: 3 s, 6 slots. 0.25 + 3 * 0.5 = 1.75 s: 4 slots. 2 * (6 + 4) + 3 = 23.
    assert (traces.arrival == 0).all()
    assert (traces.comm == 6).all()
    assert (traces.comp == 4).all()
    assert (traces.deadline == 23).all()
    assert (traces.app == 0).all()
    assert (traces.downlink, traces.slot_s) == (3, 0.5)


def test_resampled_segments_are_the_measured_ones(tmp_path):
    path = tmp_path / "runs.csv"
    runs = [f"run {i}" for i in range(1, 11)]
    header = ",".join(["machine", "size (kb)", "des_codec", "des_res", "des_fr", *runs])
    rows = [
        ",".join(["vm", size, codec, "360", "24", *[seconds] * 10])
        for codec, size, seconds in [
            # KiB, hardly less than 0.5, 1, 1.5, 0.25 and 0.75 MB
            ("hevc", "488", "1"), ("hevc", "976", "2"), ("hevc", "1464", "3"),
            ("mpeg4", "244", "0.5"), ("mpeg4", "732", "0.25"),
        ]
    ]  # fmt: skip
    path.write_text("\n".join([header, *rows]) + "\n")
    workload = TandemWorkload(
        files=0, videos=6, slot_s=0.25, machine="vm", transcoding=path,
        uplink=steady_uplink(tmp_path), hevc_share=0.5,
    )  # fmt: skip
    traces = workload.make(500)
    pairs = {
        (int(a), int(b)) for a, b in zip(traces.comm.ravel(), traces.comp.ravel(), strict=True)
    }
    assert pairs == {(2, 4), (4, 8), (6, 12), (1, 2), (3, 1)}
    assert (traces.comp >= 4).mean() == pytest.approx(0.5, abs=0.03)


# Distributions


def test_window_arrivals_are_uniform_after_the_first_job():
    arrival = TandemWorkload(slot_s=0.001, window_s=4).make(20_000).arrival * 0.001
    # Mean of the i-th of five uniform points in [0, 4] is 4 i / 6.
    assert arrival.mean(axis=0) == pytest.approx([4 * i / 6 for i in range(6)], abs=0.02)
    assert arrival.max() <= 4.001


def test_poisson_arrivals_keep_their_mean_gap():
    gaps = np.diff(
        TandemWorkload(slot_s=0.001, arrivals="poisson", mean_gap_s=0.7).make(20_000).arrival
    )
    assert gaps.mean() == pytest.approx(700, rel=0.01)
    assert gaps.std() == pytest.approx(700, rel=0.02)


def test_every_order_of_the_applications_is_equally_likely():
    app = TandemWorkload(files=2, videos=4).make(15_000).app
    _, counts = np.unique(app, axis=0, return_counts=True)
    assert len(counts) == 15
    assert counts == pytest.approx(np.full(15, 1000), rel=0.15)


def test_drawn_segments_follow_the_tables_and_their_rank_correlation(tmp_path):
    workload = TandemWorkload(
        files=0, videos=1, slot_s=1e-4, hevc_share=1, uplink=steady_uplink(tmp_path)
    )
    drawn = workload.make(50_000)
    size, compute = drawn.comm[:, 0] * 1e-4, drawn.comp[:, 0] * 1e-4
    profile = shipped_profile().segments["AWS-m5a2xlarge"]["hevc"]
    for share in (10, 25, 50, 75, 90):
        assert np.quantile(size, share / 100) == pytest.approx(profile.size_mb[share], rel=0.03)
        expected = profile.compute_s[share]
        assert np.quantile(compute, share / 100) == pytest.approx(expected, rel=0.04)
    rank_correlation = np.corrcoef(ranks(size), ranks(compute))[0, 1]
    assert rank_correlation == pytest.approx(profile.rank_correlation, abs=0.03)


def test_jobs_of_a_trace_share_the_channel_and_forget_it_with_time():
    def rate_correlation(slot_s=1e-3, **arrivals):
        workload = TandemWorkload(
            files=2, videos=0, file_mb=(3, 3), slot_s=slot_s, network="5g_171221", **arrivals
        )
        comm = workload.make(20_000).comm
        return np.corrcoef(ranks(comm[:, 0]), ranks(comm[:, 1]))[0, 1]

    assert rate_correlation(window_s=0) == pytest.approx(1, abs=1e-3)
    assert 0.85 < rate_correlation(window_s=4) < 0.99
    assert rate_correlation(1e-2, arrivals="poisson", mean_gap_s=2e3) == pytest.approx(0, abs=0.03)


def test_rates_of_a_long_trace_have_the_measured_distribution():
    workload = TandemWorkload(
        files=2000, videos=0, file_mb=(3, 3), slot_s=1e-3, arrivals="poisson", mean_gap_s=3
    )
    rate = 24 / (workload.make(20).comm * 1e-3)
    table = shipped_profile().uplinks["5g_static"].rate_mbit_s
    for share in (5, 25, 50, 75, 95):
        assert np.quantile(rate, share / 100) == pytest.approx(table[share], rel=0.02)


def test_a_stream_loads_the_busier_stage_as_asked():
    for file_share in (0.2, 0.9):
        workload = TandemWorkload().stream(3000, file_share=file_share, load=0.8)
        traces = workload.make(4)
        assert traces.max_jobs == 3000
        assert (traces.app == 0).mean() == pytest.approx(file_share)
        span = traces.arrival[:, -1].sum()
        busy = max(traces.comm.sum(), traces.comp.sum())
        assert busy / span == pytest.approx(0.8, rel=0.05)
    with pytest.raises(InputError, match="load: expected more than 0"):
        TandemWorkload().stream(10, load=0)


# Configuration


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"machine": "abacus"}, "machine: expected one of AWS-c52xlarge, .* found 'abacus'"),
        ({"network": "6g"}, "network: expected one of 4g_static, .* found '6g'"),
        ({"files": 0, "videos": 0}, "expected at least 1 job, found 0"),
        ({"file_mb": (4, 2)}, "file_mb: expected smallest <= largest"),
        ({"slack": (3, 2)}, "slack: expected smallest <= largest"),
        ({"slack": (0.5, 2)}, "greater than or equal to 1"),
        ({"slot_s": 1e-9}, "slot_s: expected traces of at most 16777216 slots"),
        ({"slot_s": math.inf}, "finite number"),
        ({"slots": 3}, "Extra inputs are not permitted"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        TandemWorkload(**fields)


def test_the_network_of_a_full_file_is_the_files_own(tmp_path):
    path = steady_uplink(tmp_path)
    assert TandemWorkload(uplink=path, network="steady").make(1).max_jobs == 6
    with pytest.raises(ValidationError, match="network: expected 'steady'"):
        TandemWorkload(uplink=path, network="5g_static")


# Splits of the paper


def test_the_papers_sets_have_their_sizes_and_mixes():
    sets = {split: split_traces(split, "test", seed=1) for split in SPLITS}
    sets["train"] = split_traces("3-3", "train", seed=1)
    assert {name: len(traces) for name, traces in sets.items()} == {
        "train": 700, **dict.fromkeys(SPLITS, 300)
    }  # fmt: skip
    for split in SPLITS:
        assert ((sets[split].app == 0).sum(axis=1) == int(split[0])).all()


def test_no_two_sets_share_a_seed_and_a_smaller_set_begins_a_larger_one():
    every = [
        split_seeds(split, part, 5000, seed)
        for split in SPLITS
        for part in ("train", "test")
        for seed in (0, 1, 2**22 - 1)
    ]
    assert len(np.unique(np.concatenate(every))) == 5000 * len(every)
    small, large = split_traces("2-4", "train", 10), split_traces("2-4", "train", 50)
    assert (small.deadline == large.deadline[:10]).all()
    with pytest.raises(InputError, match="split: expected one of 1-5"):
        split_seeds("6-0", "train", 1)


# Compute time of files


def test_the_line_through_exact_times_is_found():
    size = np.array([1.0, 4.0, 64.0])
    assert fit_storage(size, 0.01 + 0.002 * size) == StorageModel(fixed_s=0.01, s_per_mb=0.002)
    assert fit_storage(size, 0.002 * size).seconds(10) == pytest.approx(0.02)


def test_checksum_and_store_is_measured_on_this_machine(tmp_path):
    model = measure_storage(repeats=1, folder=tmp_path)
    assert 0 < model.seconds(10) < 10
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="repeats: expected at least 1, found 0"):
        measure_storage(repeats=0)
    with pytest.raises(InputError, match="absent"):
        measure_storage(repeats=1, folder=tmp_path / "absent")


# The shipped profile and the public files


def test_a_profile_file_comes_back_and_a_broken_one_is_refused(tmp_path):
    path = tmp_path / "profile.json"
    shipped_profile().write(path)
    assert read_profile(path) == shipped_profile()
    drawn, shipped = TandemWorkload(profile=path).make(3), TandemWorkload().make(3)
    assert np.array_equal(drawn.deadline, shipped.deadline)
    broken = tmp_path / "broken" / "profile.json"
    broken.parent.mkdir()
    broken.write_text(path.read_text().replace('"step_s": 3.0', '"step_s": -3.0', 1))
    with pytest.raises(ValidationError, match=r"profile\.json: uplinks\..*step_s"):
        TandemWorkload(profile=broken)


@needs_public_files
def test_the_shipped_profile_is_what_the_public_files_give():
    # To the last digit, on any processor: sums are exact, and what passes through the C library's
    # logarithm is rounded.
    measured = measure_profile(TRANSCODING, UPLINKS)
    assert measured == shipped_profile()
    # One of 271 transcodings to hevc failed on each machine, with all of its ten runs.
    assert {codecs["hevc"].segments for codecs in measured.segments.values()} == {270}
    assert min(codecs["hevc"].failed_runs for codecs in measured.segments.values()) == 10
    assert {codecs["mpeg4"].failed_runs for codecs in measured.segments.values()} == {0}


def test_correlations_do_not_depend_on_the_order_of_their_sums():
    # Which is what differs between a library's kernels.
    rng = np.random.default_rng(0)
    x = rng.normal(size=1000)
    y = x + rng.normal(size=1000)
    expected = correlation(x, y)
    assert expected == pytest.approx(np.corrcoef(x, y)[0, 1])
    for _ in range(20):
        order = rng.permutation(1000)
        assert correlation(x[order], y[order]) == expected


@needs_public_files
def test_sizes_of_the_public_file_are_in_kib():
    with TRANSCODING.open(newline="") as file:
        rows = list(csv.DictReader(file))
    bits = np.array([float(row["bitrate (kb/s)"]) * float(row["duration"]) for row in rows]) * 1000
    sizes = np.array([float(row["size (kb)"]) for row in rows])
    assert bits / 8 / sizes == pytest.approx(np.full(len(rows), 1024), rel=0.002)


@needs_public_files
@pytest.mark.parametrize("hevc_share", [0, 1])
def test_profile_and_full_files_draw_alike(hevc_share):
    fields = {"files": 0, "videos": 1, "slot_s": 1e-3, "hevc_share": hevc_share}
    profile = TandemWorkload(**fields).make(40_000)
    full = TandemWorkload(**fields, transcoding=TRANSCODING, uplink=STATIC_5G).make(40_000)
    for name in ("comm", "comp"):
        drawn, real = getattr(profile, name)[:, 0], getattr(full, name)[:, 0]
        for share in (0.1, 0.25, 0.5, 0.75, 0.9):
            # Thirty sizes only: quantiles between two of them may fall on either.
            assert np.quantile(drawn, share) == pytest.approx(np.quantile(real, share), rel=0.06)
        assert drawn.mean() == pytest.approx(real.mean(), rel=0.02)
    together = [
        np.corrcoef(ranks(t.comm[:, 0]), ranks(t.comp[:, 0]))[0, 1] for t in (profile, full)
    ]
    assert together[0] == pytest.approx(together[1], abs=0.05)
