"""file_sink: writes rows to files, each once."""

from typing import Literal

from pydantic import Field

from streamflow.nodes.kind import Category, DurationMs, Lowered, Lowering, Mode, NodeConfig, NodeKind, Resources
from streamflow.nodes.sink_operators import Deliver
from streamflow.sinks.target import FileFormat, FileTarget


class FileSinkConfig(NodeConfig):
    """Configuration of a file sink."""

    format: Literal["jsonl", "parquet"] = Field("jsonl", description="JSON, one row per line, or Parquet (zstd)")
    roll_every: DurationMs = Field(60_000, ge=100, le=86_400_000, description="a file ends so long after its first row")
    roll_bytes: int = Field(
        32 << 20, ge=1 << 10, le=1 << 30, description="or when it holds about so many bytes, as they came"
    )


class FileSink(NodeKind):
    """Writes rows to files in a folder of its own below STREAMFLOW_FILES_DIR, which all workers must share.

    A file holds the rows of one range of offsets of one partition, appears whole, and is there once.
    """

    kind = "file_sink"
    display_name = "File sink"
    description = "Writes rows to JSON lines or Parquet files, exactly once."
    category = Category.INTEGRATION
    tags = ("output", "files")
    modes = (Mode.BATCH,)
    resources = Resources(disk=True)
    config_type = FileSinkConfig
    example = {"format": "jsonl", "roll_every": "1s"}

    def lower(self, config: FileSinkConfig, lowering: Lowering) -> Lowered | None:
        """A sink takes any row."""
        target = FileTarget(FileFormat(config.format), config.roll_bytes, config.roll_every)
        return Lowered(Deliver(target), lowering.input)
