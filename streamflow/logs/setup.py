"""Log lines of a worker: text for people or JSON for programs, with the libraries kept quiet."""

import logging
import sys

import orjson

from streamflow.logs.place import place_of
from streamflow.logs.trace import TRACE_ID

_HARMLESS = "NotEnoughReplicasError"


class JsonFormatter(logging.Formatter):
    """One JSON object per line; only listed fields, line breaks escaped by JSON itself."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        body = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **place_of(record),
        }
        if trace_id := TRACE_ID.get():
            body["trace_id"] = trace_id
        if record.exc_info:
            body["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(body).decode()


class _Quiet(logging.Filter):
    """Drops aiokafka's warning that the last transaction's markers are still being written; it retries by itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        return _HARMLESS not in record.getMessage()


def set_up_logs(level: str, form: str) -> None:
    """Log to standard error. Faust's and aiokafka's debug lines show values of events, so they stay at WARNING."""
    handler = logging.StreamHandler(sys.stderr)
    text = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(text))
    handler.addFilter(_Quiet())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("aiokafka", "faust", "mode", "httpx", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
