"""mask: hides fields before rows leave for where not everybody may read them."""

import os

from pydantic import Field

from streamflow.model.expression import Expression
from streamflow.model.schema import FieldType
from streamflow.nodes.kind import Category, Lowered, Lowering, NodeConfig, NodeKind
from streamflow.nodes.map import project


class MaskConfig(NodeConfig):
    """Configuration of a mask."""

    remove: list[str] = Field(default_factory=list, description="fields that go")
    hash: list[str] = Field(default_factory=list, description="fields of which 64 hexadecimal digits remain")
    keep_last: dict[str, int] = Field(
        default_factory=dict, description="field to how many of its last characters stay; the others become *"
    )
    key_env: str | None = Field(
        None,
        pattern=r"[A-Z][A-Z0-9_]*",
        description="environment variable with the key of the hashes, on every worker; plain SHA-256 when left out",
    )


class Mask(NodeKind):
    """Removes, hashes or shortens fields; null stays null, equal values have equal hashes.

    With `key_env` the hash is HMAC-SHA256: without its key nobody can find a value by trying all. Without it, names
    and numbers can be found so. The key of rows must not show what is hidden: rows keyed by a hidden field are refused.
    Dead letters hold the event as it came: who may read them must be allowed to.
    """

    kind = "mask"
    display_name = "Mask"
    description = "Removes fields, or hides them behind a hash or stars."
    category = Category.SECURITY
    tags = ("stateless", "privacy")
    config_type = MaskConfig
    example = {"hash": ["unit"], "remove": ["tags"]}

    def lower(self, config: MaskConfig, lowering: Lowering) -> Lowered | None:
        """Write each as an expression."""
        schema, key = lowering.input.schema, lowering.input.key
        hidden = [*config.remove, *config.hash, *config.keep_last]
        for option, names in (("remove", config.remove), ("hash", config.hash), ("keep_last", config.keep_last)):
            for name in names:
                if lowering.has_field(name, option) and hidden.count(name) > 1:
                    lowering.problem(f"{name!r} is named twice", "hide it in one way", option)
                if key is not None and name in key.fields:
                    remedy = f"key by another field before it, or by sha256({name})"
                    lowering.problem(f"the key of the rows shows {name!r}", remedy, option)
        if not hidden:
            lowering.problem("nothing is hidden", "name fields in remove, hash or keep_last")
        if config.key_env is not None and not os.environ.get(config.key_env):
            lowering.problem(f"environment variable {config.key_env} is not set", "set it on every worker", "key_env")
        if lowering.failed:
            return None
        computed: dict[str, Expression] = {}
        for name in config.hash:
            text = f"sha256({_text(name, lowering)})"
            if config.key_env is not None:
                text = f"hmac_sha256({_text(name, lowering)}, {config.key_env!r})"
            _add(computed, lowering, name, text, "hash")
        for name, keep in config.keep_last.items():
            if not 0 <= keep <= 100:
                lowering.problem(f"{keep} characters cannot stay", "write 0 to 100", f"keep_last.{name}")
            _add(computed, lowering, name, f"masked({_text(name, lowering)}, {keep})", f"keep_last.{name}")
        stays = [name for name in schema.names if name not in config.remove]
        return None if lowering.failed else project(lowering, stays, computed)


def _text(name: str, lowering: Lowering) -> str:
    field = lowering.input.schema.field(name)
    return name if field is not None and field.type is FieldType.STR else f"as_str({name})"


def _add(computed: dict[str, Expression], lowering: Lowering, name: str, text: str, key: str) -> None:
    value = lowering.or_null(text, name, key)
    if value is not None:
        computed[name] = value
