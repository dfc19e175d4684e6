"""Files and folders that appear whole or not at all."""

from pathlib import Path

import pytest

from edge_marl.files import aside, write_aside


def test_a_file_is_replaced_and_its_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_aside(path, "one")
    write_aside(path, b"two")
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with aside(tmp_path / "folder") as place:
            place.mkdir()
            (place / name).write_text(name)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "new"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_failure_leaves_the_old_content_and_no_remains(tmp_path: Path, kind: str) -> None:
    kept = tmp_path / "kept"
    write_aside(kept, "old")
    with pytest.raises(KeyboardInterrupt), aside(kept) as place:  # noqa: PT012
        if kind == "folder":
            place.mkdir()
        else:
            place.write_text("half")
        raise KeyboardInterrupt
    assert kept.read_text() == "old"
    assert list(tmp_path.iterdir()) == [kept]
