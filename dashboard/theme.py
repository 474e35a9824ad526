"""Colours and type of both themes, and every Streamlit option that ships. Passed when the server starts, so that no
configuration file lies about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

CATEGORIES_LIGHT = ["#4C6EF5", "#12A594", "#E5892B", "#9B5DE5", "#D6457A", "#5B8C2A", "#0E8FC2", "#B0782A", "#7A8699"]
CATEGORIES_DARK = ["#7C9AFF", "#3CCBB8", "#F2A65A", "#B892FF", "#F07BA8", "#9CCB62", "#58BCEB", "#D9AE6B", "#A4AFC0"]

_SHARED: dict[str, Any] = {
    "baseFontSize": 14,
    "baseRadius": "8px",
    "headingFontSizes": ["1.6rem", "1.15rem", "1rem", "0.95rem", "0.9rem", "0.85rem"],
    "headingFontWeights": [650, 600, 600, 600, 600, 600],
    "metricValueFontSize": "1.7rem",
    "metricValueFontWeight": 600,
    "codeFontSize": "12.5px",
    "paddingTop": "1.6rem",
    "paddingBottom": "3rem",
    "showSidebarBorder": True,
    "showWidgetBorder": True,
}

_LIGHT: dict[str, Any] = {
    "backgroundColor": "#FFFFFF",
    "secondaryBackgroundColor": "#F5F6F8",
    "textColor": "#171A21",
    "borderColor": "#E1E4EA",
    "primaryColor": "#3B5BDB",
    "linkColor": "#2F4FC7",
    "greenTextColor": "#136B3B", "greenColor": "#2F9E5B", "greenBackgroundColor": "#E3F5EA",
    "redTextColor": "#B3261E", "redColor": "#DC3F36", "redBackgroundColor": "#FCE8E6",
    "orangeTextColor": "#8A4B08", "orangeColor": "#E08A1E", "orangeBackgroundColor": "#FDF0DC",
    "blueTextColor": "#1F4FB8", "blueColor": "#4C6EF5", "blueBackgroundColor": "#E7EDFD",
    "violetColor": "#8B5CF6", "grayColor": "#8A93A3", "grayTextColor": "#4D5563",
    "sidebar.backgroundColor": "#FAFAFB",
    "dataframeHeaderBackgroundColor": "#F5F6F8",
    "chartCategoricalColors": CATEGORIES_LIGHT,
}  # fmt: skip

_DARK: dict[str, Any] = {
    "backgroundColor": "#101318",
    "secondaryBackgroundColor": "#191D25",
    "textColor": "#E7EAF0",
    "borderColor": "#2B313C",
    "primaryColor": "#7C9AFF",
    "linkColor": "#9DB2FF",
    "greenTextColor": "#7FDCA4", "greenColor": "#45B877", "greenBackgroundColor": "#14301F",
    "redTextColor": "#FF9B93", "redColor": "#F0655B", "redBackgroundColor": "#3A1917",
    "orangeTextColor": "#FFC27A", "orangeColor": "#EFA03F", "orangeBackgroundColor": "#38260E",
    "blueTextColor": "#A9C0FF", "blueColor": "#7C9AFF", "blueBackgroundColor": "#1B2541",
    "violetColor": "#B892FF", "grayColor": "#7C8696", "grayTextColor": "#B4BCC9",
    "sidebar.backgroundColor": "#0C0F13",
    "dataframeHeaderBackgroundColor": "#191D25",
    "chartCategoricalColors": CATEGORIES_DARK,
}  # fmt: skip

OPTIONS: dict[str, Any] = {
    "server.headless": True,
    "server.fileWatcherType": "none",
    "server.enableStaticServing": False,
    "server.enableAgentApi": False,
    "server.maxUploadSize": 1,  # MB: no page takes files
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "viewer",
    "client.showErrorLinks": False,
    "client.showErrorDetails": "none",
    "client.showSidebarNavigation": True,
    "runner.magicEnabled": False,
    "logger.level": "warning",
    "logger.hideWelcomeMessage": True,
    **{f"theme.{key}": value for key, value in _SHARED.items()},
    **{f"theme.light.{key}": value for key, value in _LIGHT.items()},
    **{f"theme.dark.{key}": value for key, value in _DARK.items()},
}


def server_options(host: str, port: int, named: Sequence[str] = ()) -> dict[str, Any]:
    """All options of a server on one address; only its own names, and those it is `named`, are accepted as Host (DNS
    rebinding)."""
    names = [host, "localhost", "127.0.0.1", *named]
    return OPTIONS | {
        "server.address": host,
        "server.port": port,
        "server.allowedHosts": list(dict.fromkeys(names)),
        "browser.serverAddress": host,
    }
