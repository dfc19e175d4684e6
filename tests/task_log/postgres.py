"""A PostgreSQL server of our own."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def binaries() -> Path | None:
    """The folder of PostgreSQL's programs: on the path, or where Debian's packages put it."""
    places = [
        shutil.which("initdb"),
        *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))[::-1],
    ]
    for place in places:
        folder = place and Path(place).resolve().parent
        if folder and all((folder / name).exists() for name in ("initdb", "pg_ctl", "postgres")):
            return folder
    return None


@contextmanager
def server() -> Iterator[str]:
    """URL of a fresh server on a socket in a temporary folder; skips the test without one."""
    pytest.importorskip("psycopg", reason="the driver psycopg is not installed")
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # sockets have short names, and pytest's are long
    # PostgreSQL refuses to be run by root.
    user = None if os.geteuid() else next(u for u in ("postgres", "nobody") if _exists(u))
    if user:
        shutil.chown(folder, user)

    def call(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [programs / program, "-D", folder / "data", *arguments],
            user=user, group=user and pwd.getpwnam(user).pw_gid, extra_groups=[] if user else None,
            cwd=folder, env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"PostgreSQL does not start here: {done.stderr.strip()}")

    try:
        call("initdb", "--username=marl", "--auth=trust", "--no-sync", "--encoding=UTF8")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        call("pg_ctl", "--wait", f"--log={folder / 'log'}", f"--options={options}", "start")
        try:
            yield f"postgresql+psycopg://marl@/postgres?host={folder}"
        finally:
            call("pg_ctl", "--wait", "--mode=immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
