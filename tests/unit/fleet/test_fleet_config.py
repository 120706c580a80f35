"""A configuration with a mistake refuses to start, and names the mistake."""

from pathlib import Path

import pytest

from fleet.config import Overrides, config_from_text, load_config
from models.errors import ConfigurationError

GOOD = '[server]\nfleet = "demo"\nstate = "s"\nrepo = "r"\nkeys = "k"\n'
EXAMPLE = Path(__file__).parents[3] / "systemd" / "fleet.toml.example"


def test_what_is_not_said_has_its_default() -> None:
    config = config_from_text(GOOD, Overrides())
    assert (config.http.host, config.http.port, config.mqtt.port) == ("127.0.0.1", 8080, 1883)
    assert config.store_url == "sqlite:///s/fleet.sqlite"


def test_options_go_before_the_file() -> None:
    config = config_from_text(GOOD + "[http]\nport = 9\n", Overrides(http_port=0, fleet="other"))
    assert (config.http.port, config.server.fleet) == (0, "other")


def test_options_alone_are_enough() -> None:
    assert load_config(None, Overrides("s", "r", "k", "demo")).server.fleet == "demo"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (GOOD + "[htp]\nport = 1\n", "htp"),
        (GOOD + "[http]\nprot = 1\n", "prot"),
        (GOOD + '[http]\nport = "1"\n', "port"),
        (GOOD + "[http]\nport = 70000\n", "port"),
        (GOOD.replace("demo", "a/b"), "server.fleet"),
        ('[server]\nfleet = "demo"\n', "state"),
        ("server = 1\n", "server"),
        ("[server", "table declaration"),
    ],
)
def test_a_mistake_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        config_from_text(text, Overrides())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="absent"):
        load_config(tmp_path / "absent.toml", Overrides())


def test_the_example_that_is_shipped_is_valid() -> None:
    config = load_config(EXAMPLE, Overrides())
    assert config.http.host == "127.0.0.1"
