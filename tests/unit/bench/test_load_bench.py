"""What the control bench loads a device with: the release that it makes, when it orders it, and what it says of it."""

from pathlib import Path

import msgspec
import pytest

from bench.large import width_that_fills, write_large
from bench.load import Event, Round, Turns, check_room, figures, is_busy, rounds_from
from models.digest import Digest
from models.errors import ConfigurationError, ModelSignatureError
from models.reference.checkpoint import read_checkpoint
from models.reference.export import export_graphs
from models.release.verify import Check, verify
from models.runtime.inspect import inspect
from models.runtime.signature import GraphRole
from tests.fakes.build_site import REFERENCE_CHECKPOINT
from tests.fakes.repositories import Site

S = 1_000_000_000
LARGE, LIVE = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
REFUSED = "[model-signature] by nobody we know"


def told(*kinds_at: tuple[float, str]) -> list[Event]:
    return [
        Event(round(at_s * S), f"update-{kind}", REFUSED if kind == "refused" else "")
        for at_s, kind in kinds_at
    ]


@pytest.mark.parametrize("size_bytes", [8 << 20, 32 << 20])
def test_a_large_checkpoint_has_the_size_that_was_asked_for_and_not_much_more(
    tmp_path: Path, size_bytes: int
) -> None:
    write_large(REFERENCE_CHECKPOINT, tmp_path / "large", size_bytes, seed=1)
    _, weights = read_checkpoint(tmp_path / "large")
    assert size_bytes <= sum(weight.nbytes for weight in weights.values()) < 1.2 * size_bytes


def test_one_gibibyte_is_a_network_of_some_two_thousand_units() -> None:
    config, weights = read_checkpoint(REFERENCE_CHECKPOINT)
    shapes = {name: weight.shape for name, weight in weights.items()}
    width = width_that_fills(shapes, config.sizes, 1 << 30)
    assert 2000 < width < 2400
    assert width % 16 == 0


def test_a_large_checkpoint_exports_to_graphs_that_a_device_would_take(tmp_path: Path) -> None:
    write_large(REFERENCE_CHECKPOINT, tmp_path / "large", 8 << 20, seed=1)
    config, _ = read_checkpoint(tmp_path / "large")
    for role, graph in export_graphs(tmp_path / "large").items():
        found = inspect(graph.SerializeToString(), GraphRole(role), config.contract)
        assert found.width in (0, config.sizes.width)
    assert config.sizes.width > read_checkpoint(REFERENCE_CHECKPOINT)[0].sizes.width


def test_the_weights_are_their_seeds_and_no_others(tmp_path: Path) -> None:
    names = [("one", 1), ("same", 1), ("other", 2)]
    for name, seed in names:
        write_large(REFERENCE_CHECKPOINT, tmp_path / name, 4 << 20, seed)
    one, same, other = ((tmp_path / name / "model.safetensors").read_bytes() for name, _ in names)
    assert one == same != other


def test_a_release_whose_publisher_was_withdrawn_is_refused_only_once_all_of_it_is_hashed(
    tmp_path: Path,
) -> None:
    site, held = Site(tmp_path), []
    digest = site.publish().digest

    def witness(check: Check) -> None:
        held.append(check.name)

    nobody = msgspec.structs.replace(site.image.policy(), publishers=())
    with pytest.raises(ModelSignatureError):
        verify(site.release_dir("1.0.0"), digest, nobody, witness)
    assert held[-1] == "digests"


def test_a_disk_that_is_too_small_is_told_before_anything_is_made(tmp_path: Path) -> None:
    check_room(tmp_path, 1 << 10)
    with pytest.raises(ConfigurationError, match="--load-mib"):
        check_room(tmp_path, 1 << 60)


def test_a_round_is_from_the_first_chunk_asked_for_to_the_refusal() -> None:
    events = told((1, "fetching"), (31, "verifying"), (33, "refused"), (40, "fetching"), (50, "verifying"))
    assert rounds_from(events) == [Round(30.0, 2.0, REFUSED)]
    assert rounds_from(reversed(events)) == rounds_from(events)


def test_a_fetch_that_was_put_off_and_went_on_is_one_round_with_its_pause() -> None:
    events = told((1, "fetching"), (5, "put-off"), (9, "fetching"), (31, "verifying"), (32, "refused"))
    assert [one.fetched_s for one in rounds_from(events)] == [30.0]
    assert is_busy(events[:2])


def test_what_was_refused_before_it_was_staged_is_no_round() -> None:
    assert rounds_from(told((1, "refused"), (2, "fetching"), (3, "refused"))) == []


@pytest.mark.parametrize(
    ("kinds", "busy"),
    [((), False), (("fetching",), True), (("fetching", "verifying"), True), (("fetching", "refused"), False)],
)
def test_a_device_is_busy_from_the_fetch_to_the_refusal(kinds: tuple[str, ...], busy: bool) -> None:
    assert is_busy(told(*enumerate(kinds))) is busy


def orders(turns: Turns, busy_s: list[bool]) -> list[tuple[int, str]]:
    """What was ordered at which second, with the device busy or not in each."""
    given = ((at_s, turns.next(busy, at_s)) for at_s, busy in enumerate(busy_s))
    names = {LARGE: "large", LIVE: "live"}
    return [(at_s, names[digest]) for at_s, digest in given if digest is not None]


def test_after_each_refusal_another_release_is_ordered_and_then_the_large_one_again() -> None:
    busy = [False] * 2 + [True] * 10 + [False] * 6 + [True] * 10 + [False] * 2
    assert orders(Turns(LARGE, LIVE), busy) == [(0, "large"), (12, "live"), (16, "large"), (28, "live")]


def test_an_order_that_came_to_nothing_is_given_again_and_none_while_the_device_is_busy() -> None:
    assert orders(Turns(LARGE, LIVE), [False] * 13) == [(0, "large"), (4, "live"), (8, "large"), (12, "live")]
    assert orders(Turns(LARGE, LIVE), [False] + [True] * 60) == [(0, "large")]


def test_figures_count_whole_rounds_and_what_is_here_of_the_open_one() -> None:
    before, after = {"content_sent_bytes": 100}, {"content_sent_bytes": 400}
    size_bytes = 64 << 20
    found = figures([Round(4.0, 0.5, ""), Round(6.0, 1.5, "")], size_bytes, 1000, before, after)
    assert (found["loads"], found["load_bytes"]) == (2, 2 * size_bytes + 1000)
    assert (found["load_mib_per_s"], found["hash_mib_per_s"]) == (12.8, 64.0)
    assert found["load_sent_bytes"] == 300
    assert figures([], size_bytes, 7, before, after)["load_mib_per_s"] is None
