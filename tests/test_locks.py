"""One writer at a time."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edge_marl.errors import InputError
from edge_marl.locks import LOCK, sole_writer

ROOT = Path(__file__).resolve().parents[1]

HOLD = """
import sys
from pathlib import Path
from edge_marl.locks import sole_writer

with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_who_the_first_one_is(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with sole_writer(folder):
        (folder / "file").touch()
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        message = f"{folder}: {holder} is writing to it, which one may at a time"
        with pytest.raises(InputError, match=message), sole_writer(folder):
            pytest.fail("two writers")
    with sole_writer(folder):
        pass
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {process.pid} on"), sole_writer(tmp_path):
            pytest.fail("two writers")
        process.send_signal(signal.SIGKILL)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    with sole_writer(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_stays_empty_is_removed_if_it_was_made(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "new" / "deep", tmp_path / "there"):
        with pytest.raises(KeyboardInterrupt), sole_writer(folder):
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [tmp_path / "there"]


def test_only_one_of_many_who_come_at_once_is_let_in(tmp_path: Path) -> None:
    """Also while the holder before removes the file of its lock."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from edge_marl.errors import InputError\n"
        "from edge_marl.locks import sole_writer\n"
        "folder = Path(sys.argv[1])\n"
        "for _ in range(300):\n"
        "    try:\n"
        "        with sole_writer(folder):\n"
        "            mine = folder / 'mine'\n"
        "            mine.touch(exist_ok=False)\n"
        "            mine.unlink()\n"
        "    except InputError:\n"
        "        pass\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("years of work")
    for folder in (tmp_path / "file", tmp_path / "file" / "deep"):
        with (
            pytest.raises(InputError, match=f"{folder}: cannot be written: Not a directory"),
            sole_writer(folder),
        ):
            pytest.fail("no folder")
    assert (tmp_path / "file").read_text() == "years of work"


def test_errors_of_the_work_itself_are_left_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError), sole_writer(tmp_path):
        raise ConnectionError


def test_file_systems_without_locks_are_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(file: int, operation: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with sole_writer(tmp_path), sole_writer(tmp_path):
        pass
