"""What the settings of a worker let its nodes reach and know."""

import os

from streamflow.calls.caller import Outside
from streamflow.settings.settings import Settings


def outside_of(settings: Settings) -> Outside:
    """Hosts, networks and secrets for the calls of nodes."""
    hosts = tuple(pattern.strip() for pattern in settings.outbound_hosts.split(",") if pattern.strip())
    return Outside(hosts, settings.outbound_networks_parsed, settings.secrets_dir, os.environ)
