"""Drives the real dashboard process in Debian's Chromium, with waits that do not flake."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, sync_playwright

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--force-prefers-reduced-motion",
)  # fmt: skip
_SETTLED = """() => {
  const app = document.querySelector('[data-testid=stApp]');
  return app && app.dataset.testConnectionState === 'CONNECTED' && app.dataset.testScriptState === 'notRunning'
    && document.querySelector('[data-run]') && !document.querySelector('[data-stale=true],[data-testid=stSkeleton]');
}"""
PATIENCE = 45_000


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(data: Path, log: Path, **environ: str) -> Iterator[str]:
    """`spanfold dashboard` on a free port; its address. Ended by its own id."""
    port = free_port()
    command = [sys.executable, "-m", "spanfold.cli", "dashboard", "--data", str(data), "--dashboard-port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | {"TZ": "UTC"} | environ
        )
        try:
            _wait_until_healthy(port, process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) in (0, -signal.SIGTERM), log.read_text()


def _wait_until_healthy(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(log.read_text())


@contextmanager
def browsing(**options: object) -> Iterator[BrowserContext]:
    """A browser without a past; whatever does not go to this machine's loopback is refused."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=chromium(), headless=True, args=list(FLAGS), timezone_id="UTC", locale="en-GB",
            viewport={"width": 1440, "height": 1000}, **options,  # type: ignore[arg-type]
        )  # fmt: skip
        try:
            yield context
        finally:
            context.close()


def settled(page: Page) -> None:
    """Connected, nothing running, nothing stale. Right after goto(); not enough after a click."""
    page.wait_for_function(_SETTLED, timeout=PATIENCE)


def visit(page: Page, url: str) -> None:
    page.goto(url)
    settled(page)


def runs(page: Page) -> int:
    return int(page.locator("[data-run]").get_attribute("data-run") or 0)


def act(page: Page, do: Callable[[], object]) -> None:
    """One interaction and the full run that it causes: every run ends by writing a higher number."""
    before = runs(page)
    do()
    page.wait_for_function(
        "before => +document.querySelector('[data-run]')?.dataset.run > before", arg=before, timeout=PATIENCE
    )
    settled(page)


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.1)


LOW_CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (text, under) => {
    canvas.fillStyle = `rgb(${under.join(',')})`; canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = (c) => { const [r, g, b] = c.map((v) => linear(v / 255)); return .2126 * r + .7152 * g + .0722 * b; };
  const up = (n) => n.parentElement || (n.getRootNode() instanceof ShadowRoot ? n.getRootNode().host : null);
  const ground = (n) => {
    const chain = [];
    for (let p = n; p; p = up(p)) chain.unshift(getComputedStyle(p).backgroundColor);
    return chain.reduce((under, colour) => rgba(colour, under), [255, 255, 255]);
  };
  const faults = new Set();
  const look = (root) => root.querySelectorAll('*').forEach((n) => {
    if (n.shadowRoot) look(n.shadowRoot);
    const own = [...n.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim());
    const ours = root !== document || n.closest('[data-testid=stCaptionContainer], .st-key-sign-out');
    if (!own || !ours || n.disabled || !n.getClientRects().length) return;
    const under = ground(n), over = rgba(getComputedStyle(n).color, under);
    const [a, b] = [light(under), light(over)].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) faults.add(`${n.className || n.tagName} ${n.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  });
  look(document);
  return [...faults];
}"""
