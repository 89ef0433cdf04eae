"""What a worker has beside it where alerts are on: its samples, and what judges them."""

from streamflow.alerts.config import load_alerts
from streamflow.cli.service import WorkerService
from streamflow.errors import SettingsError
from streamflow.runtime.alerting import Alerting
from streamflow.runtime.outside import outside_of
from streamflow.runtime.sample_history import SampleHistory
from streamflow.runtime.sample_stream import SampleStream
from streamflow.runtime.worker import Companion
from streamflow.settings.settings import Settings


def alert_companions(service: WorkerService, settings: Settings) -> list[Companion]:
    """Companions that begin after the service. Raises TopologyError for what is wrong in the file, SettingsError."""
    if settings.events_detail == "off":
        raise SettingsError("STREAMFLOW_ALERTS needs the event bus: set STREAMFLOW_EVENTS_DETAIL=lifecycle")
    service.alerts_config = config = load_alerts(settings.alerts_file)
    service.alerting = alerting = Alerting(settings, config, outside_of(settings), service.url)
    service.samples = SampleHistory(settings)
    return [SampleStream(settings, service.url, service.points), alerting]
