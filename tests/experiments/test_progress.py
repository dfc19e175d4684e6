"""What is seen of long work where no bar can be drawn."""

import pytest

from edge_marl.experiments.progress import progress_bar


def test_a_pipe_gets_a_line_now_and_then_and_one_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bar = progress_bar()
    seconds = bar.get_time()
    bar.get_time = lambda: seconds
    with bar:
        shown = bar.add_task("study", total=100)
        for _ in range(100):
            seconds += 9.0
            bar.advance(shown)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[2] for line in lines[:2]] == ["4/100", "8/100"]  # after 36 s and 72 s
    assert lines[-1].split()[2] == "100/100"
    assert len(lines) == 25


def test_work_of_a_few_seconds_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as bar:
        for _ in bar.track(range(3), description="play"):
            pass
    (line,) = capsys.readouterr().err.splitlines()
    assert "3/3" in line


def test_nothing_is_shown_where_nobody_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(visible=False) as bar:
        for _ in bar.track(range(3), description="play"):
            pass
    assert not capsys.readouterr().err
