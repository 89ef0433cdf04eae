"""Opens the delivery of a sink's partition."""

from pathlib import Path

from streamflow.errors import SettingsError
from streamflow.model.schema import Schema
from streamflow.sinks.delivery import Delivery
from streamflow.sinks.files import FileDelivery
from streamflow.sinks.sql import SqlDelivery
from streamflow.sinks.target import FileTarget, Target


def open_delivery(
    target: Target, schema: Schema, files_dir: Path | None, name: str, partition: int, committed: int
) -> Delivery:
    """name: of the sink, unlike any other's. committed: offset that Kafka has for its feed.

    Raises SettingsError, SinkFailed, SinkRefused.
    """
    if not isinstance(target, FileTarget):
        return SqlDelivery(target, schema, name, partition, committed)
    if files_dir is None:
        raise SettingsError(f"sink {name} writes files, but there is no folder for them")
    return FileDelivery(target, schema, files_dir / name, name, partition, committed)
