"""What the settings of a worker let its nodes reach and know."""

import os
from pathlib import Path

from streamflow.calls.caller import Outside
from streamflow.calls.payload_store import ObjectPayloads
from streamflow.runtime.result_folders import ResultFolders
from streamflow.runtime.shared_results import SharedResults
from streamflow.settings.settings import Settings


def outside_of(settings: Settings, results: Path | None = None, shared: SharedResults | None = None) -> Outside:
    """Hosts, networks, secrets and payloads for the calls of nodes. results: folder for what they keep; shared: what
    they tell other workers of it."""
    hosts = tuple(pattern.strip() for pattern in settings.outbound_hosts.split(",") if pattern.strip())
    opener = None if results is None else ResultFolders(results, None if shared is None else shared.share)
    payloads = ObjectPayloads(settings.payloads_url) if settings.payloads_url else None
    return Outside(hosts, settings.outbound_networks_parsed, settings.secrets_dir, os.environ, opener, payloads)
