"""Public measurement files are read as they are, and refused by file, row and column."""

import numpy as np
import pytest

from edge_marl.errors import InputError
from edge_marl.tandem.profile import measure_profile, network_name, segments_of, uplink_of
from edge_marl.tandem.readers import read_transcoding, read_uplink

RUNS = [f"run {i}" for i in range(1, 11)]
TRANSCODING_HEADER = ",".join(
    ["machine", "sheet", "size (kb)", "des_codec", "des_res", "des_fr", *RUNS]
)
UPLINK = """Time,rsrp(dBm),Sent Bytes,RATE(MBit/s)
Thu Aug 11 13:42:06 UTC 2022,-96,6047658,10.0
Thu Aug 11 13:42:09 UTC 2022,-95,10950612,20.0
Thu Aug 11 13:42:12 UTC 2022,-96,16211628,0
Thu Aug 11 13:52:12 UTC 2022,-96,16211628,30.0
"""


def segment(machine, size_kib, codec, *runs, resolution=360):
    """One row; missing runs repeat the last one."""
    filled = [*runs, *[runs[-1]] * (10 - len(runs))]
    return ",".join(map(str, [machine, "sheet", size_kib, codec, resolution, 24, *filled]))


def transcoding_file(folder, *rows):
    path = folder / "runs.csv"
    path.write_text("\n".join([TRANSCODING_HEADER, *rows]) + "\n")
    return path


@pytest.fixture
def uplink_file(tmp_path):
    path = tmp_path / "drive.csv"
    path.write_text(UPLINK)
    return path


def test_transcoding_rows_keep_size_runs_and_machine_and_leave_other_codecs_out(tmp_path):
    path = transcoding_file(
        tmp_path,
        segment("vm", 1000, "hevc", 1.1, 1.2),
        segment("vm", 630, "h264", 0.05),
        segment("vm2", 500, "mpeg4", 0.5),
    )
    runs = read_transcoding(path)
    assert runs.machine.tolist() == ["vm", "vm2"]
    assert runs.codec.tolist() == ["hevc", "mpeg4"]
    assert runs.size_mb.tolist() == [1.024, 0.512]  # 1,000 and 500 KiB
    assert runs.run_s[0].tolist() == [1.1, *[1.2] * 9]
    assert runs.left_out == 1


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (segment("vm", "big", "hevc", 1.0), "row 3: size (kb): expected a number above 0"),
        (segment("vm", 0, "hevc", 1.0), "row 3: size (kb): expected a number above 0, found '0'"),
        (segment("vm", 630, "hevc", 1.0, -2), "row 3: run 2: expected a number above 0"),
        (segment("vm", 630, "hevc", 1.0, "nan"), "row 3: run 2: expected a number above 0"),
        (segment("", 630, "hevc", 1.0), "row 3: machine: expected a value, found nothing"),
        ("vm,sheet,630,hevc,360,24,1.0", "row 3: run 2: expected a value, found a short row"),
    ],
)
def test_a_bad_transcoding_row_is_refused_by_place(tmp_path, row, expected):
    path = transcoding_file(tmp_path, segment("vm", 630, "hevc", 1.0), row)
    with pytest.raises(InputError) as refusal:
        read_transcoding(path)
    assert str(refusal.value).startswith(f"{path}: {expected}")


def test_a_file_of_another_format_is_refused(tmp_path, uplink_file):
    with pytest.raises(InputError, match="row 1: expected a column 'machine', found none"):
        read_transcoding(uplink_file)
    empty = transcoding_file(tmp_path)
    with pytest.raises(InputError, match="des_codec: expected rows of hevc or mpeg4, found none"):
        read_transcoding(empty)
    with pytest.raises(InputError, match="expected a column 'Time', found none"):
        read_uplink(empty)
    with pytest.raises(InputError, match="cannot be read"):
        read_uplink(tmp_path / "absent.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="expected a CSV file in UTF-8"):
        read_uplink(tmp_path / "binary.csv")


def test_uplink_rows_give_seconds_and_rates(uplink_file):
    recording = read_uplink(uplink_file)
    assert np.diff(recording.time_s).tolist() == [3, 3, 600]
    assert recording.rate_mbit_s.tolist() == [10, 20, 0, 30]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("Thu Aug 11 13:42:09 UTC 2022", "yesterday", "row 3: Time: expected a time like"),
        ("13:42:12", "13:41:12", "row 4: Time: expected a time no earlier"),
        (",20.0", ",fast", "row 3: RATE(MBit/s): expected a number of at least 0, found 'fast'"),
        (",20.0", ",-1", "row 3: RATE(MBit/s): expected a number of at least 0, found '-1'"),
        (",20.0", ",inf", "row 3: RATE(MBit/s): expected a number of at least 0, found 'inf'"),
    ],
)
def test_a_bad_uplink_row_is_refused_by_place(uplink_file, old, new, expected):
    uplink_file.write_text(UPLINK.replace(old, new))
    with pytest.raises(InputError) as refusal:
        read_uplink(uplink_file)
    assert str(refusal.value).startswith(f"{uplink_file}: {expected}")


def test_a_lost_connection_is_no_rate_that_jobs_are_sent_at(uplink_file):
    profile = uplink_of(uplink_file)
    assert profile.samples == 3
    assert profile.rate_mbit_s == (10, 20, 30)


def test_a_run_under_half_of_its_segments_median_has_failed(tmp_path):
    rows = [segment("vm", 1000, "hevc", 0.99, 1.0, 2.0), segment("vm", 1000, "hevc", 2.0)]
    path = transcoding_file(tmp_path, *rows)
    run_s = read_transcoding(path).run_s
    assert np.isnan(run_s).tolist() == [[True] + [False] * 9, [False] * 10]
    profile = segments_of(path)["vm"]["hevc"]
    assert (profile.segments, profile.failed_runs) == (2, 1)
    assert profile.compute_s == (2, 2)
    assert min(profile.run_ratio) == 0.5  # of the run that took 1 s, 19 runs in all


def test_all_runs_of_a_segment_have_failed_under_a_fifth_of_those_like_it(tmp_path):
    like = [segment("vm", 1000 + i, "hevc", 5.0) for i in range(3)]
    others = [
        segment("vm", 2000, "hevc", 0.9, resolution=180),  # quick, but nothing is like it
        segment("vm2", 2000, "hevc", 0.9),
        segment("vm", 2000, "mpeg4", 0.9),
        segment("vm", 1003, "hevc", 1.0),
    ]
    path = transcoding_file(tmp_path, *like, segment("vm", 3000, "hevc", 0.9), *others)
    failed = np.isnan(read_transcoding(path).run_s).all(axis=1)
    assert failed.tolist() == [False] * 3 + [True] + [False] * 4
    profile = segments_of(path)["vm"]["hevc"]
    assert (profile.segments, profile.failed_runs) == (5, 10)
    assert 0.9 in profile.compute_s  # the one of the lower resolution
    assert 3.072 not in profile.size_mb


def test_segments_join_size_with_the_median_of_their_runs(tmp_path):
    path = transcoding_file(
        tmp_path,
        segment("vm", 1000, "hevc", 1, 1, 1, 1, 2),  # median 2
        segment("vm", 2000, "hevc", 4),
        segment("vm", 3000, "hevc", 8),
    )
    profile = segments_of(path)["vm"]["hevc"]
    assert profile.size_mb == (1.024, 2.048, 3.072)
    assert profile.compute_s == (2, 4, 8)
    assert profile.rank_correlation == pytest.approx(1)
    assert profile.copula == pytest.approx(1)
    assert (min(profile.run_ratio), max(profile.run_ratio)) == (0.5, 1)


def test_measuring_a_profile_names_networks_by_their_file(tmp_path, uplink_file):
    rows = [segment("vm", 600 + i, "hevc", 1 + i) for i in range(5)]
    profile = measure_profile(transcoding_file(tmp_path, *rows), uplink_file)
    assert list(profile.uplinks) == ["drive"]
    assert profile.segments["vm"]["hevc"].compute_s[50] == 3
    assert network_name("x/cleaned_Data5G_static5G_070322.csv") == "5g_static"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="expected CSV files of uplink rates, found none"):
        measure_profile(tmp_path / "runs.csv", empty)
