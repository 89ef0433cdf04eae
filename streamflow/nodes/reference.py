"""The reference page of the built-in kinds, written from what they say of themselves."""

from textwrap import wrap

from ruamel.yaml import YAML
from ruamel.yaml.compat import StringIO

from streamflow.nodes.catalogue import form
from streamflow.nodes.kind import Category, NodeKind
from streamflow.nodes.registry import KINDS

_HEAD = """# Node kinds

Written by `streamflow nodes reference`; do not edit. What every node has besides: `kind`, and `input: name` or
`inputs: [name, …]`; and `requires: [gpu]`, what workers must have that run it. Examples are over rows of
`time: timestamp, sensor: str, value: float, unit: str?, tags: json`,
keyed by `sensor`.
"""


def reference() -> str:
    """The page, in Markdown."""
    kinds = [KINDS[name] for name in sorted(KINDS) if KINDS.is_built_in(name)]
    parts = [_HEAD]
    for category in Category:
        of_category = [kind for kind in kinds if kind.category is category]
        if of_category:
            title = category.value.replace("_", " ").replace("ai ml", "AI and ML")
            links = " · ".join(f"[{kind.kind}](#{kind.kind})" for kind in of_category)
            parts.append(f"**{title[0].upper()}{title[1:]}**: {links}\n")
    return "\n".join([*parts, *map(_section, kinds)])


def _section(kind: NodeKind) -> str:
    about = " ".join((kind.__doc__ or "").split())
    lines = [f"## {kind.kind}", "", *wrap(kind.description, 120)]
    lines += ["", *wrap(about, 120)]
    lines += ["", f"Version {kind.version}; {', '.join([kind.category.value, *kind.tags])}.", "", "```yaml"]
    lines += [_example(kind), "```", ""]
    rows = [
        f"| `{field['name']}` | {field['type']} | {'required' if field['required'] else _default(field)} "
        f"| {_choices(field)} |"
        for field in form(kind)
    ]
    lines += ["| option | type | default | |", "| --- | --- | --- | --- |", *rows, ""] if rows else []
    return "\n".join(lines)


def _example(kind: NodeKind) -> str:
    yaml, text = YAML(typ="safe", pure=True), StringIO()
    yaml.default_flow_style, yaml.width = True, 1_000
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump({"kind": kind.kind, **kind.example}, text)
    return f"example: {text.getvalue().strip()}"


def _default(field: dict[str, object]) -> str:
    default = field.get("default")
    return "" if default is None or default == "" else f"`{default}`"


def _choices(field: dict[str, object]) -> str:
    options = field.get("options")
    shown = f" ({', '.join(map(str, options))})" if isinstance(options, list) else ""
    return f"{field['help']}{shown}".replace("|", "\\|")
