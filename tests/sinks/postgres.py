"""A PostgreSQL server of the test's own, where one is installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.ports import free_port


def installed() -> bool:
    """Whether there is a server that this user may start: PostgreSQL refuses root, so that there must be another one."""
    return all(shutil.which(name) for name in ("postgres", "initdb")) and (
        os.geteuid() != 0 or bool(shutil.which("runuser"))
    )


@contextmanager
def server() -> Iterator[str]:
    """URL of a new, empty database."""
    user, port = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else [], free_port()
    # pytest's own folders are closed to other users.
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, "postgres")
        data = ["-D", str(folder / "data")]
        control = [*user, shutil.which("pg_ctl") or _beside_postgres(), *data, "-w", "-t", "60"]
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        _run([*user, "initdb", *data, "-A", "trust", "-U", "tester", "--no-sync"])
        _run([*control, "-o", options, "-l", str(folder / "log"), "start"])
        try:
            yield f"postgresql://tester@127.0.0.1:{port}/postgres"
        finally:
            _run([*control, "-m", "immediate", "stop"])


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL)


def _beside_postgres() -> str:
    return str(Path(shutil.which("postgres") or "").resolve().with_name("pg_ctl"))
