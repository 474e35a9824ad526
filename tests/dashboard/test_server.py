"""How the dashboard's process is set up."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import pytest
from streamlit import config

from spanfold import dashboard_server
from spanfold.dashboard import theme
from spanfold.settings import Settings


def test_options_are_known_and_closed() -> None:
    """Every option exists in this Streamlit; nothing phones home, watches files or serves agents."""
    options = theme.server_options("127.0.0.1", 8501)
    assert set(options) <= set(config.get_config_options())
    assert options["server.address"] == "127.0.0.1"
    assert options["server.allowedHosts"] == ["127.0.0.1", "localhost"]
    assert options["server.enableAgentApi"] is False
    assert options["browser.gatherUsageStats"] is False
    assert options["server.fileWatcherType"] == "none"
    assert options["client.showErrorDetails"] == "none"


def test_addresses_are_those_of_the_running_collector(tmp_path: Path) -> None:
    """The first-run page names the ports that the collector really has."""
    settings = Settings(data=tmp_path)
    backend = dashboard_server.open_backend(settings)
    assert backend.listening() == ("127.0.0.1:4317", "127.0.0.1:4318")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "collector.json").write_text(json.dumps({"grpc_port": 14317, "http_port": 14318}))
    assert backend.listening() == ("127.0.0.1:14317", "127.0.0.1:14318")
    backend.state.close()


def test_a_directory_whose_keys_are_gone_still_opens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without keys the numbers are there, content stays closed, and the process says why."""
    dashboard_server.open_backend(Settings(data=tmp_path)).state.close()
    (tmp_path / "keys" / "root.key").unlink()
    backend = dashboard_server.open_backend(Settings(data=tmp_path))
    assert not backend.reader.can_open
    assert capsys.readouterr().err.startswith("content stays closed: ")
    backend.state.close()


def test_reviewer_without_a_user_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a container without user names decisions are signed `local`."""

    def nobody() -> str:
        raise OSError("no username set in the environment")

    monkeypatch.setattr(getpass, "getuser", nobody)
    backend = dashboard_server.open_backend(Settings(data=tmp_path))
    assert backend.reviewer == "local"
    backend.state.close()
