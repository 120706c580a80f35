"""The card of one device, kept up to date in place.

Owns: its elements. Must not know: where the words come from.
Every text goes through `ui.label`, which the browser shows as text and never as markup.
"""

from collections.abc import Sequence

from nicegui import ui
from nicegui.element import Element

from fleet.console.words import Bar, CardWords

COPIED_S = 1500


class Track:
    """A bar with a caption and a value."""

    def __init__(self, key: str, fill: str = "") -> None:
        with ui.element("div") as self._box:
            with ui.element("div").classes("r-between"):
                ui.label(key).classes("r-key")
                self._text = ui.label().classes("r-soft")
            with ui.element("div").classes("r-track"):
                self._fill = ui.element("div").classes(f"r-fill {fill}")

    def show(self, bar: Bar | None) -> None:
        """Show `bar`, or nothing."""
        self._box.set_visibility(bar is not None)
        if bar is not None:
            self._text.set_text(bar.text)
            self._fill.style(f"width: {bar.share * 100:.1f}%")
            mark(self._fill, "alarm", bar.alarm)


class DecisionIds:
    """The latest decision ids; a click copies one for `roskva trace`."""

    def __init__(self, count: int) -> None:
        with ui.element("div").classes("r-ids") as self._box:
            ui.label("Latest decisions (click copies the id)").classes("r-key")
            self._labels = [self._label() for _ in range(count)]

    def show(self, ids: Sequence[str]) -> None:
        """Show the first of `ids`."""
        self._box.set_visibility(bool(ids))
        for label, text in zip(self._labels, [*ids, *([""] * len(self._labels))], strict=False):
            label.set_text(text)

    @staticmethod
    def _label() -> ui.label:
        label = ui.label().classes("r-id")
        label.on("click", lambda: copy(label.text))
        return label


class DeviceCard:
    """A device, with `ids` of its latest decisions."""

    def __init__(self, device: str, ids: int) -> None:
        with ui.element("div").classes("r-card") as self.box:
            with ui.element("div").classes("r-head"):
                ui.link(device, f"/devices/{device}").classes("r-name")
                self._presence = ui.label().classes("r-badge")
                self._trial = ui.label("on trial").classes("r-badge trial")
            self._subtitle = ui.label().classes("r-soft r-subtitle")
            self._release = ui.label().classes("r-release")
            self._power = Track("Power, 1 s mean")
            with ui.element("div").classes("r-figures"):
                self._loop = figure("Loop")
                self._realtime = figure("Real time")
                self._ticks = figure("Ticks")
                self._lateness = figure("Lateness p99")
                self._rate = figure("Decisions")
                self._temperature = figure("Hottest")
                self._energy = figure("Energy")
            self._reasoning = ui.label().classes("r-reason")
            self._update = Track("Update", "update")
            self._failed = ui.label().classes("r-fail")
            self._ids = DecisionIds(ids)

    def show(self, words: CardWords, ids: Sequence[str] = ()) -> None:
        """Bring every element up to date; what did not change is not sent."""
        self._presence.set_text(words.presence)
        self._presence.classes(replace=f"r-badge {words.presence}")
        mark(self.box, "stale", words.stale)
        self._trial.set_visibility(words.trial)
        self._subtitle.set_text(words.subtitle)
        self._release.set_text(words.release)
        self._power.show(words.power)
        self._loop.set_text(words.loop)
        self._realtime.set_text(words.realtime)
        self._ticks.set_text(words.ticks)
        mark(self._ticks, "alarm", words.ticks_alarm)
        self._lateness.set_text(words.lateness)
        self._rate.set_text(words.rate)
        self._temperature.set_text(words.temperature)
        self._energy.set_text(words.energy)
        self._reasoning.set_text(words.reasoning)
        self._reasoning.set_visibility(bool(words.reasoning))
        self._update.show(words.update)
        self._failed.set_text(words.update_failed)
        self._failed.set_visibility(bool(words.update_failed))
        self._ids.show(ids)


def figure(key: str) -> ui.label:
    """A small caption above a value; returns the value."""
    with ui.element("div").classes("r-figure"):
        ui.label(key).classes("r-key")
        return ui.label().classes("r-value")


def mark(element: Element, name: str, on: bool) -> None:
    """Put a class on an element, or take it off."""
    if on:
        element.classes(add=name)
    else:
        element.classes(remove=name)


def copy(text: str) -> None:
    """Put `text` on the clipboard of the person who clicked."""
    if text:
        ui.clipboard.write(text)
        ui.notify(f"copied {text}", timeout=COPIED_S, position="bottom-left")
