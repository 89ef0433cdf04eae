"""The jars of Apache Kafka: fetched once from Maven Central, verified against digests of our own, cached.

`kafka.lock` beside this file lists every jar with its SHA-256. A jar that is missing or differs is
refused, so what runs is what was tested. Regenerate it with `python -m streamflow.runtime.embedded.jars`.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from streamflow.errors import ExternalError

KAFKA_VERSION = "4.1.1"
#: kafka-clients is named too: resolved on its own, an older one is picked.
_COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.apache.kafka:kafka-clients:{KAFKA_VERSION}"
#: Without it nothing is logged. Resolved apart, because it would bring older versions of what Kafka needs.
_LOGGING = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"
_LOCK = Path(__file__).with_name("kafka.lock")


def cache_dir() -> Path:
    """Folder of downloads: STREAMFLOW_CACHE_DIR, else the user's cache folder."""
    chosen = os.environ.get("STREAMFLOW_CACHE_DIR")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamflow"


def kafka_jars(report: Callable[[str], None] = lambda _: None) -> list[Path]:
    """Paths of Kafka's jars, fetched when they are not cached (44 MB). Raises ExternalError when that fails.

    report: told in one sentence what takes long.
    """
    folder = cache_dir() / "kafka" / KAFKA_VERSION
    expected = _read_lock()
    jars = [folder / name for name in expected]
    if not all(jar.is_file() for jar in jars):
        report(f"fetching Apache Kafka {KAFKA_VERSION} from Maven Central (44 MB, once)")
        _fetch(folder)
    for jar in jars:
        if not jar.is_file() or _digest(jar) != expected[jar.name]:
            raise ExternalError(f"{jar.name} is not the file that was tested: delete {folder} and try again")
    return jars


def _fetch(folder: Path) -> None:
    # A folder beside it and one rename: two processes that fetch at once do not disturb each other.
    import jgo

    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        environment = jgo.build(_COORDINATES, cache_dir=partial / "jgo")
        (partial / "jars").mkdir(parents=True, exist_ok=True)
        logging = [
            jar for jar in jgo.build(_LOGGING, cache_dir=partial / "jgo").all_jars if "slf4j-impl" in Path(jar).name
        ]
        for jar in [*environment.all_jars, *logging]:
            shutil.copy(jar, partial / "jars" / Path(jar).name)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial / "jars", folder)
    except Exception as error:  # jgo raises many kinds; each means the same to the caller
        raise ExternalError(f"Apache Kafka {KAFKA_VERSION} could not be fetched from Maven Central: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_lock() -> dict[str, str]:
    lines = [line.split() for line in _LOCK.read_text().splitlines() if line and not line.startswith("#")]
    return {name: digest for digest, name in lines}


def write_lock() -> None:
    """Fetch afresh and write `kafka.lock`: for a new version of Kafka, to be reviewed by a person."""
    folder = cache_dir() / "kafka" / KAFKA_VERSION
    if not folder.is_dir():
        _fetch(folder)
    lines = [f"{_digest(jar)}  {jar.name}" for jar in sorted(folder.glob("*.jar"))]
    _LOCK.write_text(f"# Apache Kafka {KAFKA_VERSION}: SHA-256 of every jar\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    write_lock()
