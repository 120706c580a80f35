"""The embedded broker, amqtt, for a machine that has none.

Owns: its configuration and its end. Must not know: topics, messages.
It lets everybody in, knows no access rules and no bound on a packet: for loopback only. Mosquitto or EMQX for real.
"""

import asyncio
import logging
import signal

from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig
from amqtt.errors import AMQTTError

from models.errors import NotNowError

MAX_CONNECTIONS = 256
_ANONYMOUS = "amqtt.plugins.authentication.AnonymousAuthPlugin"


def run(host: str, port: int) -> None:
    """Serve MQTT 3.1.1 until SIGTERM or SIGINT. Raises `NotNowError` where the port is taken."""
    logging.getLogger("amqtt").setLevel(logging.ERROR)
    logging.getLogger("transitions").setLevel(logging.ERROR)
    asyncio.run(_run(host, port))


async def _run(host: str, port: int) -> None:
    listener = ListenerConfig(bind=f"{host}:{port}", max_connections=MAX_CONNECTIONS)
    config = BrokerConfig(listeners={"default": listener}, plugins={_ANONYMOUS: {"allow_anonymous": True}})
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    broker = Broker(config)
    try:
        await broker.start()
    except AMQTTError as error:
        raise NotNowError(f"the broker cannot listen on {host}:{port}: {error}") from error
    await ended.wait()
    await broker.shutdown()
