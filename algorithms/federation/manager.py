"""Run the manager of a federation as a Ray actor, for clients that work at their own pace.

It is the state machine of :mod:`.fedbuff` that makes the versions; here it is fed with messages as
they come, and every version is on disk before anyone hears of it. A manager that is killed is
restarted by Ray and goes on from there: what was in the open buffer is lost, and nothing else.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save as to_bytes
from torch import Tensor

from edge_marl.algorithms.federation.fedbuff import FedBuff
from edge_marl.algorithms.federation.options import FederationOptions
from edge_marl.algorithms.federation.updates import Outcome, Update
from edge_marl.errors import InputError
from edge_marl.files import write_aside
from edge_marl.json_files import json_text, parse_json

_MOST_PENDING = 1000
_KEPT = 2
_STATE, _OPTIMISER = "state", "optimiser."
_LOG = "messages.jsonl"


class _Mark:
    """Name what a log says besides updates: which version was made, or gone on from."""

    CLOSED, RESTORED = "closed", "restored"


class GlobalManager:
    """Take in updates, make versions of them, and keep every version on disk.

    All methods are coroutines without an ``await``, so that no two are ever under way at once.

    Args:
        weights: ``[P]``, of version 0.
        n_clients: clients 0 to n - 1 take part.
        options: of the federation.
        folder: for the versions; if there are any, the newest is gone on from.
        seed: of the noise.
        window_s: how long after the last update that a version needs others may join it.
        log: whether every message is kept, so that :func:`replay` can make the versions again.
    """

    def __init__(
        self,
        weights: NDArray[np.float32],
        n_clients: int,
        options: FederationOptions,
        folder: str | Path,
        *,
        seed: int = 0,
        window_s: float = 0.02,
        log: bool = False,
    ) -> None:
        torch.set_num_threads(1)
        self._fedbuff = FedBuff(torch.from_numpy(weights), n_clients, options, seed=seed)
        self._folder, self._window_s = Path(folder), window_s
        self._folder.mkdir(parents=True, exist_ok=True)
        self._closes = self._ended = False
        found = _versions(self._folder)
        if found:
            self._fedbuff.set_state(_read_state(found[-1]))
        self._log = _open_log(self._folder / _LOG) if log else None
        self._note({_Mark.RESTORED: self._fedbuff.version})

    async def receive(self, update: Update) -> Outcome:
        """Take in an update, see :meth:`.fedbuff.FedBuff.receive`."""
        self._note({
            **vars(update), "delta": base64.b64encode(update.delta.tobytes()).decode()
        })  # fmt: skip
        outcome = self._fedbuff.receive(update)
        if not self._closes and self._fedbuff.is_ready:
            self._closes = True
            asyncio.get_running_loop().call_later(self._window_s, self._close)
        return outcome

    async def newest(self, version: int) -> tuple[int, NDArray[np.float32]] | None:
        """Return number and weights of the newest version if it is newer than ``version``."""
        if self._fedbuff.version <= version:
            return None
        return self._fedbuff.version, self._fedbuff.weights.numpy()

    async def join(self, client: int) -> None:
        """Let a client take part from now on."""
        self._fedbuff.join(client)

    async def leave(self, client: int) -> None:
        """Let a client take part no more."""
        self._fedbuff.leave(client)

    async def outcomes(self) -> Mapping[int, Mapping[Outcome, int]]:
        """Return how many updates of each client came to which end."""
        return self._fedbuff.outcomes

    async def report(self) -> dict[str, float]:
        """Return what can be said of all updates, see :meth:`.fedbuff.FedBuff.report`."""
        return self._fedbuff.report()

    async def get_state(self) -> dict[str, Any]:
        """Return what :meth:`set_state` needs, the open buffer included.

        A version that others may still join is made before: the open buffer is not restored.
        """
        self._close()
        return self._fedbuff.get_state()

    async def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from where ``state`` was taken, without its open buffer.

        Of the versions on disk only that one stays, and a new log begins.
        """
        for path in _versions(self._folder):
            path.unlink()
        self._fedbuff.set_state({**state, "buffer": []})
        _write_state(self._folder, self._fedbuff.get_state())
        if self._log is not None:
            self._log.close()
            path = self._folder / _LOG
            earlier = len([*self._folder.glob(f"{path.stem}-*{path.suffix}")])
            path.rename(path.with_stem(f"{path.stem}-{earlier + 1}"))
            self._log = _open_log(path)
            self._note({_Mark.RESTORED: self._fedbuff.version})

    async def end(self) -> None:
        """Write nothing any more, because the folder is about to go; no version closes after."""
        self._ended = True

    async def process(self) -> int:
        """Return the number of the process that this is."""
        return os.getpid()

    def _close(self) -> None:
        self._closes = False
        if not self._ended and self._fedbuff.close():
            self._note({_Mark.CLOSED: self._fedbuff.version})
            _write_state(self._folder, self._fedbuff.get_state())

    def _note(self, message: Mapping[str, Any]) -> None:
        if self._log is not None:
            self._log.write(json_text(message) + "\n")
            self._log.flush()


def start_manager(*arguments: Any, **options: Any) -> Any:
    """Start a manager as a Ray actor that Ray restarts for as long as its handle is held.

    Calls that it had not answered are made again, so an update may come twice; its number tells.
    More pending calls than it can take in good time raise an error at the caller.

    Args:
        arguments: of :class:`GlobalManager`.
        options: the same.
    """
    actor = ray.remote(
        num_cpus=0, max_restarts=-1, max_task_retries=-1, max_pending_calls=_MOST_PENDING
    )(GlobalManager)
    return actor.remote(*arguments, **options)


def replay(log: str | Path, fedbuff: FedBuff) -> list[Tensor]:
    """Feed a manager's messages to a new state machine.

    Args:
        log: file of a :class:`GlobalManager`.
        fedbuff: as that manager was when the log began.

    Returns:
        The weights of every version that it made, ``[P]`` each; versions whose files a killed
        manager had not written yet are made again, and are there once.

    Raises:
        InputError: for a line that is no message, or a version that was not made.
    """
    states, first = [fedbuff.get_state()], fedbuff.version
    for where, message in _messages(Path(log)):
        if isinstance(message, Update):
            fedbuff.receive(message)
        elif _Mark.CLOSED in message:
            fedbuff.close()
            states.append(fedbuff.get_state())
        else:
            kept = message[_Mark.RESTORED] - first + 1
            if not 0 < kept <= len(states):
                raise InputError(
                    f"{where}: {_Mark.RESTORED}: expected a version from {first} to "
                    f"{first + len(states) - 1}, found {message[_Mark.RESTORED]}"
                )
            del states[kept:]
            fedbuff.set_state(states[-1])
    return [torch.from_numpy(state["weights"]) for state in states[1:]]


def _messages(path: Path) -> Iterator[tuple[str, Update | dict[str, int]]]:
    """Yield the messages of a log, and where they are.

    One that was cut off when the manager was killed is left out.
    """
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        where = f"{path}: line {number}"
        try:
            message = parse_json(line, where)
        except InputError:
            if number == len(lines) or _Mark.RESTORED not in lines[number]:
                raise
        else:
            yield where, _message(message, where)


def _message(found: Any, where: str) -> Update | dict[str, int]:
    match found:
        case {_Mark.CLOSED: int()} | {_Mark.RESTORED: int()}:
            marked: dict[str, int] = found
            return marked
        case {"client": int(), "sequence": int(), "version": int(), "steps": int(), "delta": str()}:
            try:
                delta = np.frombuffer(base64.b64decode(found["delta"], validate=True), np.float32)
                return Update(**{**found, "delta": delta})
            except (TypeError, ValueError):
                pass
    raise InputError(
        f"{where}: expected an update, {_Mark.CLOSED!r} or {_Mark.RESTORED!r}, found neither"
    )


def _open_log(path: Path) -> TextIO:
    if path.exists() and not path.read_bytes().endswith(b"\n"):
        with path.open("a") as file:
            file.write("\n")
    return path.open("a")


# Versions on disk --------------------------------------------------------------------------------


def _versions(folder: Path) -> list[Path]:
    """Return the files of the versions in a folder, the newest last."""
    return sorted(folder.glob("version-*.safetensors"))


def _write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a state beside its place, move it there, and remove all but the newest."""
    arrays = {name: state[name] for name in ("weights", "generator")}
    arrays |= {f"{_OPTIMISER}{name}": value for name, value in state["optimiser"].items()}
    rest = {"version": state["version"], "clients": state["clients"]}
    path = folder / f"version-{state['version']:09d}.safetensors"
    write_aside(path, to_bytes(arrays, {_STATE: json_text(rest)}))
    for old in _versions(folder)[:-_KEPT]:
        old.unlink()


def _read_state(path: Path) -> dict[str, Any]:
    """Read a state; its buffer is empty."""
    with safe_open(path, "np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        rest = parse_json(file.metadata()[_STATE], f"{path}: {_STATE}")
    optimiser = {
        name.removeprefix(_OPTIMISER): array
        for name, array in arrays.items()
        if name.startswith(_OPTIMISER)
    }
    clients = {int(number): client for number, client in rest["clients"].items()}
    return {**arrays, "version": rest["version"], "clients": clients, "optimiser": optimiser,
            "buffer": []}  # fmt: skip
