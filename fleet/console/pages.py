"""The console: the fleet at a glance, and one device at a time.

Owns: the pages and when they refresh. Must not know: how the server gets what it shows.
A page asks once a second while somebody looks at it; with no page open nothing runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fastapi import FastAPI
from nicegui import ui

from fleet.api.desk import Desk
from fleet.api.views import DecisionView, HealthView
from fleet.console.cards import DeviceCard, copy, figure
from fleet.console.charts import lateness_chart, lateness_points, power_chart, power_points
from fleet.console.style import SHEET
from fleet.console.words import card_words, clock_text, emulated_mark, grouped
from fleet.registry import DeviceSight
from models.errors import RoskvaError, UnknownObjectError

REFRESH_S = 1.0
MAX_CARDS = 60
"""A browser page with more live cards is slow; the filter finds the others."""
_ROWS = 14
_IDS = 2
_EVENTS = 8

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where pages get what they show."""

    desk: Desk
    health: Callable[[], HealthView]


def mount(app: FastAPI, sources: Sources) -> None:
    """Add the pages to `app`; what `app` routes itself goes before them."""

    @ui.page("/", title="Roskva", dark=None)
    def front() -> None:
        _Front(sources)

    @ui.page("/devices/{device}", title="Roskva", dark=None)
    def one_device(device: str) -> None:
        _DevicePage(sources, device)

    ui.run_with(
        app,
        title="Roskva",
        dark=None,
        binding_refresh_interval=None,
        tailwind=False,
        show_welcome_message=False,
        favicon="⚡",
    )


class _Header:
    """The bar above every page."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        ui.add_css(SHEET)
        self._dark = ui.dark_mode(None)
        with ui.header().classes("r-bar"):
            ui.link("Roskva", "/").classes("r-mark")
            self._summary = ui.label().classes("r-soft")
            ui.element("div").classes("r-grow")
            ui.link("Reference", "/docs").classes("r-link")
            ui.button(icon="contrast", on_click=self._toggle).props("flat round dense").tooltip(
                "Light or dark"
            )

    def show(self) -> None:
        """Say how the server is."""
        health = self._sources.health()
        broker = "broker connected" if health.broker_connected else "NO BROKER"
        self._summary.set_text(
            f"{health.fleet} · {health.devices_online} of {health.devices} online · "
            f"{health.releases} releases · {grouped(health.decisions)} decisions since start · {broker}"
        )

    def _toggle(self) -> None:
        self._dark.set_value(not self._dark.value)


class _Front:
    """All devices."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._header = _Header(sources)
        self._cards: dict[str, DeviceCard] = {}
        self._filter = ""
        self._search = ui.input(placeholder="Filter devices", on_change=self._narrow).props(
            "dense outlined clearable"
        )
        self._search.style("margin: 1rem 1.4rem 0; max-width: 20rem")
        self._empty = ui.label(
            "No device has reported yet. One appears here as soon as it connects to the broker."
        )
        self._empty.classes("r-empty")
        self._grid = ui.element("div").classes("r-grid")
        self.refresh()
        ui.timer(REFRESH_S, self.refresh, immediate=False)

    def refresh(self) -> None:
        """Bring the page up to date."""
        self._header.show()
        everything = self._sources.desk.registry.sights()
        sights = [sight for sight in everything if self._filter in sight.device.lower()][:MAX_CARDS]
        self._empty.set_visibility(not everything)
        self._search.set_visibility(len(everything) > 6)
        self._remove(set(self._cards) - {sight.device for sight in sights})
        names = _release_names(self._sources.desk)
        for sight in sights:
            self._show(sight, names.get(_live(sight), ""))

    def _show(self, sight: DeviceSight, release_name: str) -> None:
        if sight.device not in self._cards:
            with self._grid:
                self._cards[sight.device] = DeviceCard(sight.device, _IDS)
        latest = _latest(self._sources.desk, sight.device, _IDS)
        self._cards[sight.device].show(card_words(sight, release_name), [one.id for one in latest])

    def _remove(self, gone: set[str]) -> None:
        for device in gone:
            self._cards.pop(device).box.delete()

    def _narrow(self) -> None:
        self._filter = (self._search.value or "").strip().lower()
        self.refresh()


class _DevicePage:
    """One device: its card, two charts, its latest decisions."""

    def __init__(self, sources: Sources, device: str) -> None:
        self._sources, self._device = sources, device
        self._header = _Header(sources)
        self._header.show()
        try:
            sources.desk.registry.sight(device)
        except UnknownObjectError as error:
            ui.label(str(error)).classes("r-empty")
            return
        with ui.element("div").classes("r-wide"):
            self._card = DeviceCard(device, 0)
            with self._card.box:
                self._host = figure("Host")
            with ui.element("div").classes("r-pair"):
                self._power, self._lateness = power_chart(), lateness_chart()
            with ui.element("div").classes("r-card"):
                ui.label("Latest decisions").classes("r-title")
                self._table = _DecisionTable()
            with ui.element("div").classes("r-card"):
                ui.label("Latest events").classes("r-title")
                self._no_events = ui.label("Nothing yet.").classes("r-soft")
                self._events = [ui.label().classes("r-soft") for _ in range(_EVENTS)]
        self.refresh()
        ui.timer(REFRESH_S, self.refresh, immediate=False)

    def refresh(self) -> None:
        """Bring the page up to date."""
        desk = self._sources.desk
        self._header.show()
        sight = desk.registry.sight(self._device)
        latest = _latest(desk, self._device, _ROWS)
        words = card_words(sight, _release_names(desk).get(_live(sight), ""))
        self._card.show(words)
        self._host.set_text(words.host)
        samples = desk.registry.samples(self._device)
        mark = emulated_mark(sight.state)
        self._power.show(power_points(samples), mark)
        self._lateness.show(lateness_points(samples))
        self._table.show(latest, mark)
        events = _attempt(lambda: desk.events(self._device, _EVENTS))
        self._no_events.set_visibility(not events)
        for label, event in zip(self._events, events, strict=False):
            label.set_text(f"{clock_text(event.utc_ns)}  {event.kind}  {event.detail[:200]}")


class _DecisionTable:
    """The latest decisions; a click on an id copies it."""

    def __init__(self) -> None:
        with ui.element("div").classes("r-scroll"), ui.element("div").classes("r-table"):
            for key in ("Decision", "Observed (UTC)", "Latency", "Energy", "Reasoning"):
                ui.label(key).classes("r-key")
            self._rows = [self._row() for _ in range(_ROWS)]

    def show(self, decisions: Sequence[DecisionView], mark: str) -> None:
        """Fill the rows; `mark` stands behind what the device measured of its power."""
        for row, decision in zip(self._rows, decisions, strict=False):
            record = decision.record
            texts = (
                decision.id,
                clock_text(record.observed_utc_ns),
                f"{record.latency_ns / 1e6:.1f} ms",
                f"{record.energy_j:.2f} J{mark}",
                record.reasoning[:200],
            )
            for label, text in zip(row, texts, strict=True):
                label.set_text(text)

    @staticmethod
    def _row() -> list[ui.label]:
        identity = ui.label().classes("r-id")
        identity.on("click", lambda: copy(identity.text))
        return [identity, *(ui.label() for _ in range(4))]


def _latest(desk: Desk, device: str, count: int) -> tuple[DecisionView, ...]:
    return _attempt(lambda: desk.decisions(device, "", count))


def _attempt(ask: Callable[[], tuple[T, ...]]) -> tuple[T, ...]:
    """What the store answers; nothing where it does not, since a page must not die of it."""
    try:
        return ask()
    except RoskvaError:
        return ()


def _release_names(desk: Desk) -> dict[str, str]:
    return {release.digest: release.manifest.name for release in desk.catalogue.releases()}


def _live(sight: DeviceSight) -> str:
    return sight.state.live_digest if sight.state else ""
