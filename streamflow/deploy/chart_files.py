"""Writes what the chart takes from the models: `python -m streamflow.deploy.chart_files helm/streamflow`."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from ruamel.yaml import YAML

from streamflow.deploy.values import ChartValues, values_schema


def chart_files() -> dict[str, str]:
    """Texts by file name: values.yaml with a comment per value, values.schema.json."""
    head = "# Made from streamflow/deploy/values.py by `make chart`.\n"
    return {
        "values.yaml": head + "\n".join(_lines(ChartValues(), "")) + "\n",
        "values.schema.json": json.dumps(values_schema(), indent=2) + "\n",
    }


def _lines(values: BaseModel, indent: str) -> Iterator[str]:
    for name, field in type(values).model_fields.items():
        key, value = field.alias or name, getattr(values, name)
        if isinstance(value, BaseModel):
            yield f"{indent}# {(type(value).__doc__ or '').strip()}"
            yield f"{indent}{key}:"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}# {field.description}"
            yield from (indent + line for line in _yaml({key: value}).splitlines())


def _yaml(document: object) -> str:
    writer = YAML()
    writer.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    writer.dump(document, text)
    return text.getvalue()


if __name__ == "__main__":
    for name, text in chart_files().items():
        (Path(sys.argv[1]) / name).write_text(text)
