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


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("commit_interval_ms", 1, 60_000),
        ("pending_max_outputs", 1_000, None),
        ("pending_max_bytes", 1 << 20, None),
        ("fetch_max_bytes", 1 << 10, 64 << 20),
        ("trace_ratio", 0, 1),
    ],
)
def test_numbers_are_bounded_and_the_reference_says_how(name: str, least: int, most: int | None) -> None:
    assert getattr(load_settings(**{name: least}), name) == least
    if most is not None:
        assert getattr(load_settings(**{name: most}), name) == most
    for beyond in (least - 1, *([most + 1] if most is not None else [])):
        with pytest.raises(SettingsError, match=name.upper()):
            load_settings(**{name: beyond})
    (line,) = (line for line in settings_table().splitlines() if f"`STREAMFLOW_{name.upper()}`" in line)
    wanted = f"{least} or more" if most is None else f"{least} to {most}"
    assert f"| {wanted} |" in line.replace(".0", "")


def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMFLOW_COMMIT_INTERVAL_MS", "soon")
    monkeypatch.setenv("STREAMFLOW_HTTP_PORT", "99999")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "STREAMFLOW_COMMIT_INTERVAL_MS" in str(caught.value)
    assert "STREAMFLOW_HTTP_PORT" in str(caught.value)
