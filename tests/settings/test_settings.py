"""Settings: from the environment, bounded, and documented."""

from pathlib import Path

import pytest

from streamflow.errors import SettingsError
from streamflow.settings.settings import load_settings, settings_table


def test_the_reference_is_in_step() -> None:
    assert settings_table() in Path("docs/settings.md").read_text()


def test_the_environment_is_read_and_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMFLOW_COMMIT_INTERVAL_MS", "250")
    assert load_settings().commit_interval_ms == 250
    assert load_settings(commit_interval_ms=70).commit_interval_ms == 70


def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMFLOW_COMMIT_INTERVAL_MS", "soon")
    monkeypatch.setenv("STREAMFLOW_HTTP_PORT", "99999")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "STREAMFLOW_COMMIT_INTERVAL_MS" in str(caught.value)
    assert "STREAMFLOW_HTTP_PORT" in str(caught.value)
