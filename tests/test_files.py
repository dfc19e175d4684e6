"""Files and folders that appear whole or not at all, and never in place of others' work."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_marl.errors import InputError
from edge_marl.files import aside, check_output, put_back, write_aside

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("card", "more")
"""Of the folders below."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_folder(path: Path, content: str, *more: str) -> None:
    with aside(path, parts=PARTS) as place:
        place.mkdir()
        for name in ("card", *more):
            (place / name).write_text(content)


@pytest.fixture(params=["exchanged", "moved twice"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One that can exchange two folders in one step, or one that cannot."""
    if request.param == "moved twice":
        monkeypatch.setattr("edge_marl.files._exchange", cannot)
    elif not sys.platform.startswith("linux"):
        pytest.skip("no exchange on this system")
    return str(request.param)


def cannot(*_: object) -> None:
    raise OSError


def test_a_file_is_replaced_and_its_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_aside(path, "one")
    write_aside(path, b"two")
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_replaces_an_earlier_one_and_an_empty_one(tmp_path: Path, system: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    write_folder(folder, "old", "more")
    (folder / ".DS_Store").touch()
    write_folder(folder, "new")
    assert names(tmp_path) == ["folder"]
    assert names(folder) == ["card"]
    assert (folder / "card").read_text() == "new"


def test_a_folder_is_there_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("no exchange on this system")
    write_folder(tmp_path / "folder", "old")
    monkeypatch.setattr(os, "replace", cannot)  # which would leave a gap
    write_folder(tmp_path / "folder", "new")
    assert (tmp_path / "folder" / "card").read_text() == "new"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_failure_leaves_the_old_content_and_no_remains(tmp_path: Path, kind: str) -> None:
    kept, new = tmp_path / "kept", tmp_path / "new" / "folder" / "new"
    parts = PARTS if kind == "folder" else ()
    if kind == "folder":
        write_folder(kept, "old")
    else:
        write_aside(kept, "old")
    for path in (kept, new):
        with pytest.raises(KeyboardInterrupt), aside(path, parts=parts) as place:  # noqa: PT012
            if kind == "folder":
                place.mkdir()
                (place / "card").write_text("half")
            else:
                place.write_text("half")
            raise KeyboardInterrupt
    assert (kept / "card" if kind == "folder" else kept).read_text() == "old"
    assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize(
    ("parts", "found", "message"),
    [
        ((), "folder", "expected a file or nothing, found a folder"),
        ((), "empty folder", "expected a file or nothing, found a folder"),
        ((), "fifo", "expected a file or nothing, found a device"),
        (PARTS, "file", "expected a folder or nothing, found a file"),
        (PARTS, "link", "expected a folder or nothing, found a symbolic link"),
        (PARTS, "folder", "earlier output of this kind, found a folder with thesis.tex"),
        (PARTS, "output and more", "earlier output of this kind, found a folder with thesis.tex"),
        (PARTS, "no card", "earlier output of this kind, found a folder without card"),
    ],
)
def test_what_it_did_not_write_is_never_replaced(
    tmp_path: Path, parts: tuple[str, ...], found: str, message: str
) -> None:
    path = tmp_path / "precious"
    if found == "file":
        path.write_text("years of work")
    elif found == "fifo":
        os.mkfifo(path)
    elif found == "link":
        write_folder(tmp_path / "elsewhere", "old")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.mkdir()
        for name in {
            "folder": ["thesis.tex"],
            "output and more": ["card", "thesis.tex"],
            "no card": ["more"],
        }.get(found, ()):
            (path / name).write_text("years of work")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message) as refused:
        check_output(path, parts=parts)
    assert str(refused.value).startswith(f"{path}: expected")
    with pytest.raises(InputError, match=message), aside(path, parts=parts):
        pytest.fail("refused before the work is done")
    assert sorted(tmp_path.rglob("*")) == before


def test_what_appears_in_the_meantime_is_not_replaced_either(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    with pytest.raises(InputError, match="found a folder"), aside(path) as place:  # noqa: PT012
        place.write_text("new")
        path.mkdir()
        (path / "thesis.tex").write_text("years of work")
    assert names(tmp_path) == ["precious"]
    assert names(path) == ["thesis.tex"]


def test_a_link_to_a_file_stays_one(tmp_path: Path) -> None:
    link, file = tmp_path / "link", tmp_path / "elsewhere" / "file"
    link.symlink_to(file)
    write_aside(link, "new")
    assert link.is_symlink()
    assert file.read_text() == "new"
    assert names(file.parent) == ["file"]


def test_places_that_cannot_be_written_are_found_out_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("years of work")
    for path, reason in (
        (tmp_path / "file" / "out", "Not a directory"),
        (tmp_path / "file" / "deep" / "out", "Not a directory"),
        (tmp_path / "new" / ("x" * 300), "File name too long"),
        (Path("/proc/none/out"), "No such file or directory"),
    ):
        for attempt in (check_output, lambda path: write_aside(path, "new")):
            with pytest.raises(InputError, match=f"cannot be written: {reason}") as refused:
                attempt(path)
            assert str(refused.value).startswith(str(path))
    assert names(tmp_path) == ["file"]


def test_a_check_leaves_nothing_behind(tmp_path: Path) -> None:
    write_aside(tmp_path / "there", "old")
    for parts in ((), PARTS):
        check_output(tmp_path / "new" / "deep" / "out", parts=parts)
    check_output(tmp_path / "there")
    assert names(tmp_path) == ["there"]
    assert (tmp_path / "there").read_text() == "old"


def test_an_output_is_apart_from_what_it_is_made_from(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "link").symlink_to(source)
    for path in (source, source / "deep" / "out", tmp_path / "link" / "out"):
        with pytest.raises(InputError, match="expected a place apart from"):
            check_output(path, source)
    check_output(tmp_path / "source.json", source)


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from edge_marl.errors import InputError\n"
        "from edge_marl.files import write_aside\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    write_aside(sys.argv[1], bytes(5000))\n"
        "except InputError as error:\n"
        "    print(error)\n"
    )
    path = tmp_path / "deep" / "file"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{path}: cannot be written: File too large\n"
    assert list(tmp_path.iterdir()) == []


class InterruptedReplace:
    """``os.replace``, interrupted at one of its calls."""

    def __init__(self, call: int, *, before: bool) -> None:
        self.replace, self.left, self.before = os.replace, call, before

    def __call__(self, source: Path, target: Path) -> None:
        self.left -= 1
        if self.left == 0 and self.before:
            raise KeyboardInterrupt
        self.replace(source, target)
        if self.left == 0:
            raise KeyboardInterrupt


def test_an_interrupt_leaves_the_old_folder_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    monkeypatch.setattr("edge_marl.files._exchange", cannot)
    for before in (True, False):  # the interrupt comes before a step, or after it
        for step in (1, 2):
            write_folder(folder, "old")
            interrupted = InterruptedReplace(step, before=before)
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # noqa: PT012
                patch.setattr(os, "replace", interrupted)
                write_folder(folder, "new")
            done = step == 2 and not before
            assert (folder / "card").read_text() == ("new" if done else "old")
    write_folder(folder, "newest")
    assert names(tmp_path) == ["folder"]


KILLED = """
import os, signal, sys
from pathlib import Path
from edge_marl import files

def cannot(*_):
    raise OSError

steps, function = [], getattr(os if sys.argv[2] == "replace" else files, sys.argv[2])

def killed(*arguments):
    function(*arguments)
    steps.append(arguments)
    if len(steps) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "replace":
    files._exchange = cannot
    os.replace = killed
else:
    files._exchange = killed
with files.aside(sys.argv[1], parts=("card", "more")) as place:
    place.mkdir()
    (place / "card").write_text("new")
"""


@pytest.mark.parametrize(
    ("function", "step", "left"),
    [("_exchange", 1, "new"), ("replace", 1, "old"), ("replace", 2, "new")],
)
@pytest.mark.parametrize("who", ["reads", "writes"])
def test_who_is_killed_leaves_the_old_folder_or_the_new_one(
    tmp_path: Path, function: str, step: int, left: str, who: str
) -> None:
    if function == "_exchange" and not sys.platform.startswith("linux"):
        pytest.skip("no exchange on this system")
    folder = tmp_path / "folder"
    write_folder(folder, "old")
    command = [sys.executable, "-c", KILLED, str(folder), function, str(step)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert folder.exists() == ((function, step) != ("replace", 1))
    assert len(names(tmp_path)) > 1
    if who == "reads":
        put_back(folder)
        assert (folder / "card").read_text() == left
    else:
        check_output(folder, parts=PARTS)
        assert (folder / "card").read_text() == left
        assert names(tmp_path) == ["folder"]


def test_only_the_traces_of_the_dead_are_removed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead, living = f".file.{process.pid}.part", f".file.{os.getppid()}.part"
    for name in (dead, living, f".file2.{process.pid}.part", ".file.txt.part", ".file.part"):
        (tmp_path / name).touch()
    write_aside(tmp_path / "file", "new")
    assert dead not in names(tmp_path)
    assert len(names(tmp_path)) == 5
