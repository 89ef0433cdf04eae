"""bank_verification: marks the payments that go to one kind of account at one branch of a bank.

A node kind of a package of its own, and a form whose fields follow from one another: the directory gives the kinds of
accounts, those the banks, those the branches, and all of them what is shown about the bank.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from streamflow.errors import UserError
from streamflow.nodes.dependent import Dependent, FormTables
from streamflow.nodes.kind import Category, FieldName, Lowered, Lowering, NodeConfig, NodeKind
from streamflow.nodes.map import project

_CHAIN: tuple[Literal["account", "bank", "branch"], ...] = ("account", "bank", "branch")


class BankVerificationConfig(NodeConfig):
    """Configuration of a bank verification."""

    directory: str = Field(description="global table with a row per office: account, bank, branch, code")
    account: str = Field(min_length=1, description="kind of account")
    bank: str = Field(min_length=1, description="bank that has such accounts")
    branch: str = Field(min_length=1, description="branch of the bank that has such accounts")
    fields: dict[Literal["account", "bank", "branch"], FieldName] = Field(
        default_factory=dict, description="where rows have account, bank and branch, if not under these names"
    )


def _offices(chosen: Mapping[str, Any], tables: FormTables) -> Iterator[Mapping[str, Any]]:
    """Rows of the directory that fit what is chosen."""
    name = chosen["directory"]
    missing = sorted({*_CHAIN, "code"} - set(tables.fields(name)))
    if missing:
        raise UserError(f"{name} is no directory of banks: its rows have no {', '.join(missing)}")
    wanted = {field: chosen[field] for field in _CHAIN if field in chosen}
    return (row for row in tables.rows(name) if all(row[field] == value for field, value in wanted.items()))


def _options_of(field: str) -> Any:
    return lambda chosen, tables: sorted({row[field] for row in _offices(chosen, tables)})


def _bank_info(chosen: Mapping[str, Any], tables: FormTables) -> str:
    codes = sorted(row["code"] for row in _offices(chosen, tables))
    return f"{chosen['bank']}, {chosen['branch']} ({', '.join(codes)})"


class BankVerification(NodeKind):
    """Sets `verified`. Rows have account, bank and branch, as a lookup in the directory adds them."""

    kind = "bank_verification"
    display_name = "Bank verification"
    description = "Marks payments that go to one kind of account at one branch of a bank."
    category = Category.SECURITY
    icon = "bank"
    tags = ("stateless", "table")
    config_type = BankVerificationConfig
    dependents = (
        Dependent("directory", lambda _, tables: tables.names),
        Dependent("account", _options_of("account"), ("directory",)),
        Dependent("bank", _options_of("bank"), ("directory", "account")),
        Dependent("branch", _options_of("branch"), ("directory", "account", "bank")),
        Dependent(
            "bank_info", _bank_info, ("directory", *_CHAIN), derived=True, help="the bank with the codes of its offices"
        ),
    )
    example: ClassVar[dict[str, Any]] = {
        "directory": "sensors",
        "account": "s1",
        "bank": "s1",
        "branch": "s1",
        "fields": {"account": "sensor", "bank": "sensor", "branch": "sensor"},
    }

    def lower(self, config: BankVerificationConfig, lowering: Lowering) -> Lowered | None:
        """Write it as an expression."""
        chosen, names = config.model_dump(), {name: config.fields.get(name, name) for name in _CHAIN}
        for each in names.values():
            lowering.has_field(each, "fields")
        if lowering.failed:
            return None
        source = " and ".join(f"{each} == {chosen[name]!r}" for name, each in names.items())
        condition = lowering.expression(source, "fields")
        if condition is None:
            return None
        return project(lowering, list(lowering.input.schema.names), {"verified": condition})
