"""Who may do what: roles, grants, callers. Pure; who somebody is, is found out in `identity.py`."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from streamflow.errors import UserError

#: Nobody has to be known for these: health and metrics.
PUBLIC = "public"
#: Anybody who is known; the route asks further by itself (`guard.require`).
KNOWN = "known"

_VIEWER = frozenset({"view", "query"})
_OPERATOR = _VIEWER | {"publish", "operate"}
#: Permissions of each role. `worker` is what workers are to one another, nobody else can have it.
ROLES: Mapping[str, frozenset[str]] = {
    "viewer": _VIEWER,
    "publisher": frozenset({"publish"}),
    "operator": _OPERATOR,
    "admin": _OPERATOR | {"admin"},
    "worker": _VIEWER | {"operate"},
}
#: What a route may ask for.
EVERY_PERMISSION = frozenset({PUBLIC, KNOWN}).union(*ROLES.values())
#: What a grant can be narrowed to: the names of parameters in paths.
SCOPES = ("topology", "table", "topic")

_PATTERN = re.compile(r"[A-Za-z0-9._*-]{1,128}")


@dataclass(frozen=True, slots=True)
class Grant:
    """A role, on everything, or only on what fits all of its scopes: `viewer@topology=flights,table=hourly*`.

    With scopes it covers only requests that name such a thing: `viewer@table=hourly` lists no topologies.
    """

    role: str
    scopes: tuple[tuple[str, str], ...] = ()

    def covers(self, permission: str, resources: Mapping[str, str]) -> bool:
        """Whether it allows this on these resources, by kind."""
        if permission == KNOWN:
            return True
        return permission in ROLES[self.role] and all(
            kind in resources and fnmatchcase(resources[kind], pattern) for kind, pattern in self.scopes
        )


def parse_grant(text: str) -> Grant:
    """Grant of its text. Raises UserError."""
    role, _, narrowed = text.partition("@")
    if role not in ROLES or role == "worker":
        raise UserError(f"{text!r} is no grant: roles are viewer, publisher, operator and admin")
    scopes = []
    for each in narrowed.split(",") if narrowed or "@" in text else ():
        kind, _, pattern = each.partition("=")
        if kind not in SCOPES or not _PATTERN.fullmatch(pattern):
            raise UserError(f"{text!r} is no grant: narrow {role} by topology=…, table=… or topic=…, such as orders*")
        scopes.append((kind, pattern))
    return Grant(role, tuple(scopes))


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: `name` for logs and audit (`key:…`, `oidc:…`, `worker`, `anonymous`), and what it was granted."""

    name: str
    grants: tuple[Grant, ...]

    def may(self, permission: str, resources: Mapping[str, str]) -> bool:
        """Whether any grant covers it."""
        return permission == PUBLIC or any(grant.covers(permission, resources) for grant in self.grants)


def caller(name: str, grants: Iterable[str]) -> Caller:
    """A caller of the texts of its grants. Raises UserError."""
    return Caller(name, tuple(parse_grant(each) for each in grants))


#: Everybody, where nobody has to say who they are.
ANONYMOUS = Caller("anonymous", (Grant("admin"),))
#: Another worker of the same topology.
WORKER = Caller("worker", (Grant("worker"),))
