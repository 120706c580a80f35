"""The tables: generic SQL that SQLite and PostgreSQL both understand.

Owns: columns, keys and indexes. Must not know: who reads them.
A decision's key is (device, boot, sequence); its record is kept as the JSON that the device sent.
"""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, MetaData, String, Table, Text

metadata = MetaData()

# SQLite numbers rows by itself only where the key's type is INTEGER.
_Number = BigInteger().with_variant(Integer, "sqlite")
_DIGEST = String(71)

devices = Table(
    "devices",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("hardware", String(64), nullable=False),
    Column("agent_version", Text, nullable=False),
    Column("boot", Text, nullable=False),
    Column("presence", String(16), nullable=False),
    Column("first_seen_utc_ns", BigInteger, nullable=False),
    Column("last_seen_utc_ns", BigInteger, nullable=False),
    Column("state_json", Text, nullable=False),
)

releases = Table(
    "releases",
    metadata,
    Column("digest", _DIGEST, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("counter", BigInteger, nullable=False),
    Column("first_seen_utc_ns", BigInteger, nullable=False),
)

release_ancestors = Table(
    "release_ancestors",
    metadata,
    Column("release_digest", _DIGEST, primary_key=True),
    Column("ancestor", _DIGEST, primary_key=True),
    Index("release_ancestors_by_ancestor", "ancestor"),
)

assignments = Table(
    "assignments",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("device", String(64), nullable=False),
    Column("release_digest", _DIGEST, nullable=False),
    Column("ordered_utc_ns", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Index("assignments_by_device", "device", "number"),
)

envelopes = Table(
    "envelopes",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("device", String(64), nullable=False),
    Column("envelope_w", Double, nullable=True),
    Column("expires_utc_ns", BigInteger, nullable=False),
    Column("ordered_utc_ns", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Index("envelopes_by_device", "device", "number"),
)

batches = Table(
    "batches",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("boot", String(64), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("received_utc_ns", BigInteger, nullable=False),
    Column("utc_ns", BigInteger, nullable=False),
    Column("decisions", Integer, nullable=False),
    Column("decisions_lost", BigInteger, nullable=False),
)

decisions = Table(
    "decisions",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("boot", String(64), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("release_digest", _DIGEST, nullable=False),
    Column("observed_utc_ns", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
    Index("decisions_by_release", "release_digest", "observed_utc_ns"),
    Index("decisions_by_device", "device", "observed_utc_ns"),
    Index("decisions_by_time", "observed_utc_ns"),
)

drives = Table(
    "drives",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("release_digest", _DIGEST, primary_key=True),
    Column("decisions", BigInteger, nullable=False),
    Column("first_utc_ns", BigInteger, nullable=False),
    Column("last_utc_ns", BigInteger, nullable=False),
    Index("drives_by_release", "release_digest"),
)

release_energy = Table(
    "release_energy",
    metadata,
    Column("device", String(64), primary_key=True),
    Column("release_digest", _DIGEST, primary_key=True),
    Column("decisions", BigInteger, nullable=False),
    Column("energy_j", Double, nullable=False),
    Index("release_energy_by_release", "release_digest"),
)

events = Table(
    "events",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("device", String(64), nullable=False),
    Column("boot", String(64), nullable=False),
    Column("utc_ns", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("release_digest", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("events_by_device", "device", "number"),
)

rejected = Table(
    "rejected",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("utc_ns", BigInteger, nullable=False),
    Column("device", String(64), nullable=False),
    Column("topic", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("head", LargeBinary, nullable=False),
)
