"""Define the command line ``edge-marl``.

Commands import what they need when they run, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from edge_marl.errors import InputError, original
from edge_marl.experiments import cli_learning, cli_log, cli_predict, cli_workflows
from edge_marl.experiments.cli_options import count, quantity
from edge_marl.experiments.cli_options import seed as seed_option
from edge_marl.experiments.study import load_study, studies
from edge_marl.limits import MOST_WORKERS

BAD_INPUT = 2
INTERNAL_ERROR = 1
INTERRUPTED = 130

DEBUG = "--debug"

_LONGEST_LINE = 1000

app = typer.Typer(
    name="edge-marl",
    help="Scheduling at the network edge: workloads, oracles, logs, learning, studies, benchmarks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
workload_app = typer.Typer(help="Traces of jobs, and the measurements behind them.")
oracle_app = typer.Typer(help="Exact schedules with all arrivals known.")
reproduce_app = typer.Typer(help="Redo the figures of a paper.")
benchmark_app = typer.Typer(help="Measure speed and memory on this machine.")
app.command()(cli_learning.train)
app.command()(cli_learning.tune)
app.command()(cli_learning.evaluate)
app.command()(cli_learning.export)
app.command()(cli_workflows.workflows)
app.add_typer(workload_app, name="workload", no_args_is_help=True)
app.add_typer(oracle_app, name="oracle", no_args_is_help=True)
app.add_typer(cli_log.app, name="log", no_args_is_help=True)
app.add_typer(cli_predict.app, name="predict", no_args_is_help=True)
app.add_typer(reproduce_app, name="reproduce", no_args_is_help=True)
app.add_typer(benchmark_app, name="benchmark", no_args_is_help=True)

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Options of the configuration to change."),
]
Seeds = Annotated[int | None, count("Training seeds.", show_default=False)]
Workers = Annotated[
    int | None,
    count("Tasks at a time; 0: in this process. Default: all cores.",
          least=0, most=MOST_WORKERS, show_default=False),
]  # fmt: skip


@app.callback()
def everywhere(
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Show where an error comes from, not its line alone.")
    ] = False,
) -> None:
    """Take the options of every command."""


@app.command()
def version() -> None:
    """Print the version."""
    import edge_marl

    typer.echo(edge_marl.__version__)


@workload_app.command("generate")
def workload_generate(
    out: Annotated[Path, typer.Argument(help="Parquet file to write.")],
    overrides: Overrides = None,
    traces: Annotated[int, count("How many traces.")] = 1000,
    seed: Annotated[int, seed_option("Seed of the first trace.")] = 0,
    transcoding: Annotated[
        Path | None,
        typer.Option(help="CSV file of transcoding runs, instead of the shipped profile."),
    ] = None,
    uplink: Annotated[
        Path | None, typer.Option(help="CSV file of uplink rates, instead of the shipped profile.")
    ] = None,
) -> None:
    """Draw traces, for example: edge-marl workload generate t.parquet files=2 videos=4"""
    from edge_marl.experiments.overrides import apply_overrides
    from edge_marl.files import check_output
    from edge_marl.tandem.scenario import TandemWorkload
    from edge_marl.tandem.trace_files import write_traces

    files = [f"{name}={path}" for name, path in (("transcoding", transcoding), ("uplink", uplink))
             if path is not None]  # fmt: skip
    workload = apply_overrides(TandemWorkload(), [*files, *(overrides or ())])
    check_output(out, *(value for _, value in workload if isinstance(value, Path)))
    write_traces(workload.make(traces, seed=seed), out)
    typer.echo(f"{out}: {traces} traces of {workload.n_jobs} jobs")


@workload_app.command("measure")
def workload_measure(
    repeats: Annotated[int, count("Runs of each file size.")] = 5,
    folder: Annotated[
        Path | None, typer.Option(help="Folder on the disk to measure.", show_default=False)
    ] = None,
) -> None:
    """Time checksum-and-store, the compute stage of a file transfer, on this machine."""
    from edge_marl.tandem.measure import measure_storage

    model = measure_storage(repeats, folder)
    typer.echo(f"file_fixed_s={model.fixed_s:g} file_s_per_mb={model.s_per_mb:g}")


@workload_app.command("profile")
def workload_profile(
    transcoding: Annotated[Path, typer.Option(help="CSV file of transcoding runs.")],
    uplink: Annotated[Path, typer.Option(help="CSV file of uplink rates, or a folder of them.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
) -> None:
    """Measure the quantile tables of a workload from full public files."""
    from edge_marl.files import check_output
    from edge_marl.tandem.profile import measure_profile

    check_output(out, *(source for source in (transcoding, uplink) if source.is_file()))
    profile = measure_profile(transcoding, uplink)
    profile.write(out)
    measured = [found for codecs in profile.segments.values() for found in codecs.values()]
    n_segments = sum(found.segments for found in measured)
    n_failed = sum(found.failed_runs for found in measured)
    typer.echo(f"{out}: {n_segments} segments, {n_failed} failed runs left out")


@workload_app.command("google")
def workload_google(
    jobs: Annotated[Path, typer.Option(help="Part of a trace, or folder of parts: run times.")],
    requests: Annotated[Path, typer.Option(help="The same: requests of CPU and memory.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    form: Annotated[
        Literal["google2011", "google2019"], typer.Option("--format", help="Year of the trace.")
    ] = "google2011",
) -> None:
    """Measure a profile for cooperative offloading from a Google cluster trace."""
    from collections import Counter

    from edge_marl.cooperative_offloading.trace import measure_profile, write_profile
    from edge_marl.files import check_output
    from edge_marl.google_traces import read_google, read_requests

    check_output(out, *(source for source in (jobs, requests) if source.is_file()))
    left_out: Counter[str] = Counter()
    tasks = read_google(jobs, form, left_out)
    source = f"{form}: run times of {jobs.name}, requests of {requests.name}"
    profile = measure_profile(tasks, read_requests(requests, form), source)
    write_profile(profile, out)
    without = "".join(f"; {n}: {why}" for why, n in left_out.most_common())
    typer.echo(
        f"{out}: run times of {len(tasks.duration_s)}, {len(profile.requests)} pairs of requests"
        f"{without}"
    )


@oracle_app.command("solve")
def oracle_solve(
    traces: Annotated[Path, typer.Argument(help="Parquet file of traces.")],
    out: Annotated[Path, typer.Option(help="Folder for the schedules; solved parts are kept.")],
    drop_penalty: Annotated[
        float | None, quantity("Slots per dropped job.", least=0, show_default=False)
    ] = None,
    method: Annotated[
        Literal["auto", "search", "ilp"], typer.Option(help="How to solve.")
    ] = "auto",
    time_limit: Annotated[float, quantity("Seconds per integer programme.")] = 60.0,
    workers: Workers = None,
) -> None:
    """Solve every trace exactly; a run that was stopped continues where it was."""
    from edge_marl.experiments.oracle_sets import solve_set
    from edge_marl.experiments.parallel import all_cores
    from edge_marl.locks import sole_writer
    from edge_marl.tandem.simulator import DROP_PENALTY
    from edge_marl.tandem.trace_files import read_traces

    with sole_writer(out):
        schedules = solve_set(
            read_traces(traces),
            out,
            drop_penalty=DROP_PENALTY if drop_penalty is None else drop_penalty,
            method=method,
            time_limit=time_limit,
            workers=all_cores() if workers is None else workers,
        )
    n = len(schedules)
    optimal = sum(schedule.optimal for schedule in schedules)
    objective = sum(schedule.objective for schedule in schedules) / n
    dropped = sum(len(schedule.dropped) for schedule in schedules) / n
    seconds = sum(schedule.solve_s for schedule in schedules) / n
    typer.echo(
        f"{out}: {n} traces, {optimal} proved optimal; mean objective {objective:.2f} slots, "
        f"{dropped:.3f} drops, {1e3 * seconds:.3g} CPU-ms a trace"
    )


@reproduce_app.callback()
def reproduce() -> None:
    """Redo the figures of a paper."""


def _reproduces(name: str) -> Callable[..., None]:
    """Return the command that reproduces a study."""

    def command(
        overrides: Overrides = None,
        quick: Annotated[
            bool, typer.Option("--quick", help="Small enough for a demonstration.")
        ] = False,
        seeds: Seeds = None,
        out: Annotated[
            Path | None,
            typer.Option(
                help="Folder for tables, figures and outcomes. Default: results/NAME.",
                show_default=False,
            ),
        ] = None,
        workers: Workers = None,
    ) -> None:
        from edge_marl.experiments.overrides import apply_overrides
        from edge_marl.experiments.study.engine import reproduce

        study = load_study(name)
        options = [f"{option}={value}" for option, value in (("seeds", seeds), ("workers", workers))
                   if value is not None]  # fmt: skip
        config = study.options.quick() if quick else study.options()
        reproduce(
            study,
            apply_overrides(config, [*options, *(overrides or ())]),
            out or Path("results") / name,
        )

    return command


for _name, _about in studies().items():
    reproduce_app.command(_name, help=_about)(_reproduces(_name))


@benchmark_app.callback()
def benchmark() -> None:
    """Measure speed and memory on this machine."""


@benchmark_app.command("tandem")
def benchmark_tandem(
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path(
        "results/benchmark-tandem.json"
    ),
    traces: Annotated[int, count("Traces for the oracles.")] = 1000,
) -> None:
    """Measure simulator, oracles and policies, each beside its target."""
    from edge_marl.experiments.benchmarks.tandem import benchmark as run_benchmark

    run_benchmark(out, traces=traces)


@benchmark_app.command("offloading")
def benchmark_offloading(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path(
        "results/benchmark-offloading.json"
    ),
) -> None:
    """Measure peer offloading and O2O-DRL: simulator, heuristics, bound, task log, learning."""
    from edge_marl.experiments.benchmarks.peer_offloading import OffloadingSizes
    from edge_marl.experiments.benchmarks.peer_offloading import benchmark as run_benchmark
    from edge_marl.experiments.overrides import apply_overrides

    run_benchmark(out, apply_overrides(OffloadingSizes(), overrides or ()))


@benchmark_app.command("dag")
def benchmark_dag(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path(
        "results/benchmark-dag.json"
    ),
) -> None:
    """Time DAG placement and SCALE: simulator, heuristics, decisions by cluster size, learning."""
    from edge_marl.experiments.benchmarks.dag_placement import PlacementSizes
    from edge_marl.experiments.benchmarks.dag_placement import benchmark as run_benchmark
    from edge_marl.experiments.overrides import apply_overrides

    run_benchmark(out, apply_overrides(PlacementSizes(), overrides or ()))


@benchmark_app.command("graph")
def benchmark_graph(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path(
        "results/benchmark-graph.json"
    ),
) -> None:
    """Time offloading on a graph: simulator by topology and size, heuristics."""
    from edge_marl.experiments.benchmarks.graph_offloading import GraphSizes
    from edge_marl.experiments.benchmarks.graph_offloading import benchmark as run_benchmark
    from edge_marl.experiments.overrides import apply_overrides

    run_benchmark(out, apply_overrides(GraphSizes(), overrides or ()))


@benchmark_app.command("federation")
def benchmark_federation(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path(
        "results/benchmark-federation.json"
    ),
) -> None:
    """Time federated learning: the manager by its clients, what federating costs, stragglers."""
    from edge_marl.experiments.benchmarks.federation import FederationSizes
    from edge_marl.experiments.benchmarks.federation import benchmark as run_benchmark
    from edge_marl.experiments.overrides import apply_overrides

    run_benchmark(out, apply_overrides(FederationSizes(), overrides or ()))


@benchmark_app.command("cto")
def benchmark_cto(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path(
        "results/benchmark-cto.json"
    ),
) -> None:
    """Time CTO: updates beside their arithmetic, exported decisions, learners at their own pace."""
    from edge_marl.experiments.benchmarks.cto import CTOSizes
    from edge_marl.experiments.benchmarks.cto import benchmark as run_benchmark
    from edge_marl.experiments.overrides import apply_overrides

    run_benchmark(out, apply_overrides(CTOSizes(), overrides or ()))


@benchmark_app.command("cooperative")
def benchmark_cooperative(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path(
        "results/benchmark-cooperative.json"
    ),
) -> None:
    """Time cooperative offloading: simulator by servers, heuristics, predictions."""
    from edge_marl.experiments.benchmarks.cooperative_offloading import CooperativeSizes
    from edge_marl.experiments.benchmarks.cooperative_offloading import benchmark as run_benchmark
    from edge_marl.experiments.overrides import apply_overrides

    run_benchmark(out, apply_overrides(CooperativeSizes(), overrides or ()))


@benchmark_app.command("learning")
def benchmark_learning(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path(
        "results/benchmark-learning.json"
    ),
    benchmarl_venv: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a virtual environment for BenchMARL, made if it is not there; "
            "without it BenchMARL is left out.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Compare sampling and training with stock RLlib and BenchMARL, as ratios with targets."""
    from edge_marl.experiments.benchmarks.learning import benchmark as run_benchmark
    from edge_marl.experiments.benchmarks.learning_sizes import LearningSizes
    from edge_marl.experiments.overrides import apply_overrides

    sizes = apply_overrides(LearningSizes(), overrides or ())
    run_benchmark(out, sizes, benchmarl_venv=benchmarl_venv)


@benchmark_app.command("spread")
def benchmark_spread(
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder for table, curves and picture.")] = Path(
        "results/benchmark-spread"
    ),
) -> None:
    """Train MAPPO, QMIX and MADDPG in simple_spread of mpe2, a third-party environment."""
    from edge_marl.experiments.benchmarks.learning_spread import SpreadSizes
    from edge_marl.experiments.benchmarks.learning_spread import benchmark as run_benchmark
    from edge_marl.experiments.overrides import apply_overrides

    run_benchmark(out, apply_overrides(SpreadSizes(), overrides or ()))


def main() -> None:
    """Run the command line; bad input ends in one line on standard error and exit code 2."""
    arguments = sys.argv[1:]
    debug = DEBUG in arguments
    try:
        _refuse_other_encodings(arguments)
        # It counts wherever it stands: whoever has seen an error appends it to the command.
        arguments = [argument for argument in arguments if argument != DEBUG]
        code = app([DEBUG, *arguments] if debug else arguments, standalone_mode=False)
    except typer.Abort:
        typer.echo("edge-marl: stopped; run the same command again to continue", err=True)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            shape: Any = error  # typer carries its own copy of click, whose classes have no path
            typer.echo(shape.format_message())
            sys.exit(BAD_INPUT)
        if debug:
            traceback.print_exc()
        code, line = explained(original(error))
        typer.echo(f"edge-marl: {line}", err=True)
    sys.exit(code or 0)


def explained(error: BaseException) -> tuple[int, str]:
    """Return the exit code for an exception and the one line that explains it to a person."""
    # click's own errors are known by their shape: typer carries its own copy of click.
    if isinstance(error, InputError) or hasattr(error, "format_message"):
        shape: Any = error
        text = str(error) if isinstance(error, InputError) else shape.format_message()
        return BAD_INPUT, _one_line(text)
    if isinstance(error, OSError):
        named = error.filename is not None and error.strerror is not None
        return BAD_INPUT, _one_line(f"{error.filename}: {error.strerror}" if named else str(error))
    if isinstance(error, MemoryError):
        return BAD_INPUT, _one_line(f"expected to fit into memory: {error or 'it does not'}")
    text = _one_line(f"internal error: {type(error).__name__}: {error}")
    return INTERNAL_ERROR, f"{text}; run with {DEBUG} for the traceback"


def _one_line(text: str) -> str:
    """Return a text as one line, cut in the middle where it would fill a screen."""
    line = " ".join(text.split())
    half = _LONGEST_LINE // 2
    return line if len(line) <= _LONGEST_LINE else f"{line[:half]} ... {line[-half:]}"


def _refuse_other_encodings(arguments: Sequence[str]) -> None:
    """Refuse arguments that are not UTF-8: they could be neither printed nor kept in settings."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise InputError(f"{argument!a}: expected UTF-8") from None
