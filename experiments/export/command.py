"""Implement ``edge-marl export``, which exports all agents of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from edge_marl.experiments.export.agents import EXPORTED, ExportedAgent, export_agent, folder_names
from edge_marl.experiments.progress import progress_bar, stdout
from edge_marl.experiments.training.checkpoints import read_checkpoint
from edge_marl.files import check_apart, check_output
from edge_marl.locks import sole_writer


def export(source: Path, out: Path | None = None) -> list[ExportedAgent]:
    """Export every agent of a checkpoint, and print a table of sizes and times.

    Args:
        source: folder of a checkpoint.
        out: one folder per agent is made in it; by default ``results/export`` and the
            checkpoint's name.

    Raises:
        InputError: for anything but a whole checkpoint that this version can read, and where the
            folder of an agent would replace anything but an earlier export.
    """
    checkpoint = read_checkpoint(source)
    folder = out or Path("results/export") / checkpoint.name
    check_apart(folder, checkpoint.folder)
    agents = range(len(checkpoint.actor.spec.agents))
    with sole_writer(folder):
        for name in folder_names(checkpoint.actor.spec.agents):
            check_output(folder / name, parts=EXPORTED)
        with progress_bar() as bar:
            exported = [
                export_agent(checkpoint, number, folder)
                for number in bar.track(agents, description="export")
            ]
    console = stdout()
    console.print(_table(exported))
    console.print(f"{folder}: ONNX, safetensors and card of each agent", soft_wrap=True)
    return exported


def _table(exported: list[ExportedAgent]) -> Table:
    table = Table(title="Exported actors (a decision: one observation, one thread, median)",
                  title_justify="left")  # fmt: skip
    table.add_column("agent")
    for name in (
        "parameters", "ONNX\nKB", "safetensors\nKB", "decision, µs\nonnxruntime",
        "decision, µs\ntorch", "largest\ndifference",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    for one in exported:
        table.add_row(
            one.agent,
            f"{one.parameters:,}",
            f"{one.onnx_bytes / 1000:.1f}",
            f"{one.safetensors_bytes / 1000:.1f}",
            f"{one.onnx_us:.0f}",
            f"{one.torch_us:.0f}",
            f"{one.largest_difference:.1e}",
        )
    return table
