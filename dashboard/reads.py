"""Tells the audit log what content a session was shown: once in ten minutes for the same thing."""

from __future__ import annotations

import time
from typing import Any

import streamlit as st

from spanfold.dashboard.backend import backend

AGAIN_SECONDS = 600.0


def note(subject: str, **details: Any) -> None:
    """Written before the words are drawn; what cannot be written down is not shown."""
    noted: dict[str, float] = st.session_state.setdefault("content-noted", {})
    now = time.monotonic()
    if now - noted.get(subject, -AGAIN_SECONDS) < AGAIN_SECONDS:
        return
    house = backend()
    house.state.audit.note(house.reviewer, "content", "read", subject, {"via": house.caller.via} | details)
    noted[subject] = now
