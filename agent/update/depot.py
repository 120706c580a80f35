"""The device's side of the depot: questions with ids, answers by id, deadlines, bounded queues.

Owns: which request an answer belongs to, and how often and how long a question is asked. Answers that nobody
asked for are counted and dropped; an answer is believed by whoever checks it, never here.
Must not know: MQTT clients, what the answers mean.
"""

import queue
import random
import secrets
import threading
from dataclasses import dataclass
from typing import Self

from agent.ports import Transport
from models.errors import TransferError, UnknownObjectError
from models.wire.messages import (
    ContentRequest,
    MetadataRequest,
    RangeRequest,
    Refusal,
    RefusalCode,
    Repository,
    TargetRequest,
    encode,
)
from models.wire.topics import Channel

Ask = MetadataRequest | TargetRequest | RangeRequest


@dataclass(frozen=True, slots=True)
class Answer:
    """What came for a request: bytes, or why there are none."""

    id: str
    content: bytes | Refusal


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one attempt may take, how many there are, and the bound of the pause between them."""

    timeout_s: float = 5.0
    attempts: int = 4
    pause_s: float = 1.0


class Questions:
    """A series of requests whose answers come to one queue of at most `capacity`; a context manager."""

    def __init__(self, depot: "Depot", prefix: str, capacity: int) -> None:
        self._depot, self._prefix, self._count = depot, prefix, 0
        self._answers: queue.Queue[Answer] = queue.Queue(capacity)

    def ask(self, what: Ask) -> str:
        """Send a request and return its id. Raises `TransferError` where it cannot be sent now."""
        self._count += 1
        request = f"{self._prefix}.{self._count}"
        self._depot.transport.publish(Channel.REQUEST, encode(ContentRequest(request, what)))
        return request

    def next(self, timeout_s: float) -> Answer | None:
        """The next answer, or None after `timeout_s` (0: at once)."""
        try:
            return self._answers.get(timeout=timeout_s) if timeout_s > 0 else self._answers.get_nowait()
        except queue.Empty:
            return None

    def offer(self, answer: Answer) -> bool:
        """Queue an answer; False where there is no room (it will be asked for again)."""
        try:
            self._answers.put_nowait(answer)
        except queue.Full:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._depot.close(self._prefix)


class Depot:
    """Routes answers to those who asked; implements `models.trust.admit.MetadataSource`."""

    def __init__(
        self, transport: Transport, patience: Patience | None = None, draw: random.Random | None = None
    ) -> None:
        self.transport = transport
        self.unasked = 0
        """Answers that nobody asked for, or that found no room."""
        self.stopping = threading.Event()
        self._patience = patience or Patience()
        self._draw = draw or random.Random()  # noqa: S311 - jitter, not a secret
        self._open: dict[str, Questions] = {}
        self._lock = threading.Lock()

    def questions(self, capacity: int = 8) -> Questions:
        """Open a series of requests. Its ids cannot be guessed, so only who reads our topics can answer."""
        prefix = secrets.token_hex(8)
        series = Questions(self, prefix, capacity)
        with self._lock:
            self._open[prefix] = series
        return series

    def close(self, prefix: str) -> None:
        """Forget a series; what still comes for it is dropped."""
        with self._lock:
            self._open.pop(prefix, None)

    def answered(self, request: str, content: bytes | Refusal) -> None:
        """An answer arrived (on the transport's thread)."""
        with self._lock:
            series = self._open.get(request.partition(".")[0])
        if series is None or not series.offer(Answer(request, content)):
            self.unasked += 1

    def metadata(self, repository: Repository, name: str, max_bytes: int) -> bytes:
        """One TUF metadata file. Raises `UnknownObjectError` (there is none) or `TransferError`."""
        return self._fetch_small(MetadataRequest(repository, name), name, max_bytes)

    def target(self, path: str, max_bytes: int) -> bytes:
        """One small TUF target. Raises `UnknownObjectError` or `TransferError`."""
        return self._fetch_small(TargetRequest(path), path, max_bytes)

    def _fetch_small(self, what: Ask, name: str, max_bytes: int) -> bytes:
        trouble = "no answer"
        with self.questions() as series:
            for attempt in range(self._patience.attempts):
                content = self._attempt(series, what)
                if isinstance(content, bytes):
                    return _at_most(content, max_bytes, name)
                if content is not None and content.code is RefusalCode.UNKNOWN:
                    raise UnknownObjectError(f"the depot knows nothing named {name}")
                trouble = f"{content.code}: {content.detail}" if content else "no answer"
                pause_s = self._draw.uniform(0, self._patience.pause_s * 2**attempt)
                if self.stopping.wait(pause_s if attempt + 1 < self._patience.attempts else 0):
                    break
        raise TransferError(f"{name} did not arrive in {self._patience.attempts} attempts ({trouble})")

    def _attempt(self, series: Questions, what: Ask) -> bytes | Refusal | None:
        series.ask(what)
        answer = series.next(self._patience.timeout_s)
        return answer.content if answer else None


def _at_most(content: bytes, max_bytes: int, name: str) -> bytes:
    if len(content) > max_bytes:
        raise TransferError(f"{name} came with {len(content)} bytes; at most {max_bytes} are taken")
    return content
