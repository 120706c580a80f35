"""The power mode of a device, for the power process: which is in force, which is wished, and asking for it.

Owns: what runs beside the sampling (the vendor's command may take seconds, and a mean only lasts one), and whose wish
counts: the order at the device, else the configuration. Must not know: when a mode may be asked for (`agent.power.wish`).
"""

import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

from agent.board.feed import Feed
from agent.board.layout import text_from
from agent.board.records import LOCAL_MODE_BOARD, MODE_ORDER, ModeOrderRecord
from agent.errors import KnobError, SensorError
from agent.power.device import PowerDevice
from agent.power.modes import NO_CAP, ModeAnswer, PowerMode, is_mode_name
from agent.power.parked import Parked
from agent.power.wish import ModeWish, Seen, Step, turned

_LOG = logging.getLogger("roskva.power")
_S = 1_000_000_000
_LOOK_NS = 60 * _S


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the vendor's command said; no `mode` where it could not be asked, and `failure` why."""

    mode: PowerMode | None = None
    modes: tuple[str, ...] = ()
    answer: ModeAnswer | None = None
    failure: str = ""


class LocalOrder:
    """The wish of a person at the device, from its board below `run`."""

    def __init__(self, run: Path) -> None:
        self._feed: Feed[ModeOrderRecord] = Feed(run / LOCAL_MODE_BOARD, MODE_ORDER)

    def name(self, mono_ns: int) -> str:
        """The mode's name as it was ordered last; empty for none, and for what is no name."""
        self._feed.news(mono_ns)
        name = text_from(self._feed.latest.record.name) if self._feed.latest else ""
        return name if is_mode_name(name) else ""

    def close(self) -> None:
        """Unmap; the order read last stays."""
        self._feed.close()


class WishedMode:
    """The mode in force, looked at now and then, and the way to the one that is wished.

    Where nobody answers, the mode known before stands, with its cap. One command runs at a time, on `beside`.
    """

    def __init__(self, device: PowerDevice, configured: str, run: Path, beside: Executor) -> None:
        self._device, self._configured, self._beside = device, configured, beside
        self._order, self._parked = LocalOrder(run), Parked(run)
        self._running: Future[_Heard] | None = None
        self._looked_ns = 0
        self._modes: tuple[str, ...] = ()
        self._wish = ModeWish()
        self.name, self.cap_hz = "unknown", NO_CAP

    @property
    def holds(self) -> bool:
        """Whether nothing may be decided now, as the mode is about to change."""
        return self._wish.holds

    @property
    def said(self) -> str:
        """How far the wish is; empty where there is nothing to say."""
        return self._wish.said

    def settle(self, mono_ns: int) -> None:
        """Look and wait: before anything is governed."""
        self._begin(self._look, mono_ns)
        self._take(wait=True)

    def follow(self, mono_ns: int) -> bool:
        """Call it with each sample; whether another mode than before is in force."""
        before = self.name
        if self._running is None and mono_ns - self._looked_ns > _LOOK_NS:
            self._begin(self._look, mono_ns)
        heard = self._take(wait=False)
        self._wish = turned(self._wish, self._seen(heard, mono_ns))
        if self._wish.step is Step.ASKED and self._running is None:
            self._begin(self._ask, mono_ns)
        return self.name != before

    def close(self) -> None:
        """Unmap; what runs beside ends by itself."""
        self._order.close()
        self._parked.close()

    def _seen(self, heard: _Heard, mono_ns: int) -> Seen:
        return Seen(
            mono_ns,
            wished=self._order.name(mono_ns) or self._configured,
            in_force=self.name if self._modes else "",
            modes=self._modes,
            parked=self._parked.now(mono_ns),
            answer=heard.answer,
            failure=heard.failure,
        )

    def _begin(self, what: Callable[[], _Heard], mono_ns: int) -> None:
        self._running, self._looked_ns = self._beside.submit(what), mono_ns

    def _look(self) -> _Heard:
        try:
            modes = self._device.power_modes()
            return _Heard(modes.numbered(self._device.power_mode()), modes.names)
        except SensorError as error:
            _LOG.warning("power mode: %s", error)
            return _Heard()

    def _ask(self) -> _Heard:
        """Ask for what is wished, and look; there is always an answer or a failure."""
        try:
            number = self._device.power_modes().number_of(self._wish.name)
            if number is None:
                return _Heard(failure="there is no such mode any more")
            _LOG.info("power mode: asking for %s", self._wish.name)
            answer = self._device.set_power_mode(number)
        except (KnobError, SensorError) as error:
            return _Heard(failure=str(error))
        looked = self._look()
        return _Heard(looked.mode, looked.modes, answer)

    def _take(self, *, wait: bool) -> _Heard:
        """What was heard since the last call; the empty answer while the command runs."""
        if self._running is None or not (wait or self._running.done()):
            return _Heard()
        running, self._running = self._running, None
        heard = running.result()
        if heard.mode is not None:
            self.name, self.cap_hz, self._modes = heard.mode.name, heard.mode.gpu_max_hz, heard.modes
        return heard
