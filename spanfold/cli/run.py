"""The verbs that run Spanfold and look after it: up, collect, fold, dashboard, status, flush, init."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import click

from spanfold.cli import with_settings
from spanfold.errors import ChildFailed, SpanfoldError

if TYPE_CHECKING:
    from spanfold.settings import Settings

_POLARS_KEEPS = "dirty_decay_ms:30000,muzzy_decay_ms:30000"  # freed memory of a chunk, for the next one

_host = click.option(
    "--host", help="Address to listen on; others than loopback need keys and sign-in.  [default: 127.0.0.1]"
)
_grpc_port = click.option("--grpc-port", type=click.IntRange(0, 65535), help="OTLP/gRPC.  [default: 4317]")
_http_port = click.option("--http-port", type=click.IntRange(0, 65535), help="OTLP/HTTP.  [default: 4318]")
_dashboard_port = click.option("--dashboard-port", type=click.IntRange(1, 65535), help="Dashboard.  [default: 8501]")


@click.command()
@with_settings("host", "grpc_port", "http_port", "dashboard_port")
@_host
@_grpc_port
@_http_port
@_dashboard_port
@click.option("--demo", is_flag=True, help="Send 30 days of demo traffic once everything runs.")
def up(settings: Settings, demo: bool) -> None:
    """Run everything in the foreground until SIGTERM or Ctrl-C."""
    from spanfold.access import require_login
    from spanfold.running import run_all
    from spanfold.sending_access import require_known_senders

    require_known_senders(settings)
    require_login(settings)
    if not run_all(settings, demo=demo, tell=_tell):
        raise ChildFailed("a part did not end cleanly: its messages are above")


@click.command()
@with_settings("host", "grpc_port", "http_port")
@_host
@_grpc_port
@_http_port
def collect(settings: Settings) -> None:
    """Receive OTLP into the journal."""
    from spanfold.collector.server import run
    from spanfold.exporter.keys import Keyring
    from spanfold.sending_access import collector_options, require_known_senders

    require_known_senders(settings)
    stop = _stop_on_signals()
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    scheme = "http" if settings.otlp_tls_cert is None else "https"
    run(
        collector_options(settings), Keyring.open(settings.data), stop,
        lambda c: _tell(f"OTLP/gRPC {settings.host}:{c.grpc_port}  OTLP/HTTP {scheme}://{settings.host}:{c.http_port}"),
    )  # fmt: skip


@click.command()
@with_settings()
@click.option("--standby", is_flag=True, help="Get ready, and begin when a line comes on standard input.")
def fold(settings: Settings, standby: bool) -> None:
    """Fold the journal into the lake and publish snapshots."""
    stop = _stop_on_signals()
    gc.disable()  # a tenth of the time that the imports take; the process looks for cycles when it is idle
    os.environ.setdefault("_RJEM_MALLOC_CONF", _POLARS_KEEPS)  # read when Polars is loaded
    from spanfold.fold_process import run
    from spanfold.supervisor import its_turn

    run(settings, stop, its_turn if standby else None)


@click.command()
@with_settings("host", "dashboard_port")
@_host
@_dashboard_port
def dashboard(settings: Settings) -> None:
    """Serve the dashboard and the read API."""
    from spanfold.access import require_login
    from spanfold.dashboard_server import run

    require_login(settings)
    run(settings)


@click.command()
@with_settings()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(settings: Settings, as_json: bool) -> None:
    """Say what was accepted, folded and published, and what is wrong."""
    from spanfold.cli.output import clean
    from spanfold.status import gather

    gathered = gather(settings.data)
    if as_json:
        click.echo(json.dumps(gathered, indent=2))
        return
    for name in ("offered", "accepted", "rejected", "refused", "journaled", "folded"):
        click.echo(f"{name:<12} {gathered[name]:>14,}")
    lag, age = gathered["lag"], gathered["snapshot_age_seconds"]
    click.echo(f"{'lag':<12} {lag['items']:>14,} items, {lag['bytes']:,} bytes, {lag['seconds']:.1f} s")
    click.echo(f"{'snapshot':<12} {'none yet' if age is None else f'{age:.1f} s old':>14}")
    for name, process in gathered["processes"].items():
        restarts = f", {process['restarts']} restarts" if process.get("restarts") else ""
        click.echo(f"{name:<12} {process['state']:>14}{restarts}")
    for stage, error in gathered["errors"].items():
        click.echo(f"error in {stage}: {clean(error['last'])} ({error['count']})")
    for piece in gathered["damaged"]:
        why = f": {piece['was']}: {piece['problem']}" if "problem" in piece else ""
        click.echo(clean(f"damaged: {piece['path']} ({piece['bytes']:,} bytes){why}"))


@click.command()
@with_settings()
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait.")
def flush(settings: Settings, timeout: float) -> None:
    """Return when everything accepted before is in the snapshot."""
    from spanfold.flushing import flush as wait_for_flush

    began = time.monotonic()
    wait_for_flush(settings, timeout)
    _tell(f"flushed in {time.monotonic() - began:.2f} s")


@click.command()
@with_settings()
@click.option("--all", "everything", is_flag=True, required=True, help="Every table and day, words repacked.")
@click.option("--timeout", type=float, default=3600.0, show_default=True, help="Seconds to wait.")
def compact(settings: Settings, everything: bool, timeout: float) -> None:
    """Compact the lake now; small merges happen by themselves."""
    from spanfold.flushing import compact as wait_for_compaction

    began = time.monotonic()
    wait_for_compaction(settings, timeout)
    _tell(f"compacted in {time.monotonic() - began:.2f} s")


@click.command()
@with_settings()
@click.option("--force", is_flag=True, help="Write over an existing spanfold.toml.")
def init(settings: Settings, force: bool) -> None:
    """Write a spanfold.toml with every setting, commented out."""
    from spanfold.settings import FILE_NAME, example_file

    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = settings.data / FILE_NAME
    if path.exists() and not force:
        raise SpanfoldError(f"{path} exists: edit it, or write over it with --force")
    path.write_text(example_file())
    click.echo(f"wrote {path}; start with: spanfold up --data {settings.data}")


def _stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _tell(text: str) -> None:
    print(text, file=sys.stdout, flush=True)
