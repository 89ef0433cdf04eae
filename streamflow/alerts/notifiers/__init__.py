"""Whom alerts are told to, by kind."""

from collections.abc import Mapping

from streamflow.alerts.notifiers.email import Email
from streamflow.alerts.notifiers.notifier import Notifier
from streamflow.alerts.notifiers.pagerduty import PagerDuty
from streamflow.alerts.notifiers.slack import Slack
from streamflow.alerts.notifiers.webhook import Webhook

NOTIFIERS: Mapping[str, type[Notifier]] = {
    "webhook": Webhook,
    "slack": Slack,
    "pagerduty": PagerDuty,
    "email": Email,
}

__all__ = ["NOTIFIERS", "Notifier"]
