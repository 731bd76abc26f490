"""Settings of a Redis namespace, and what the backend declares about itself before it has met the server."""

from __future__ import annotations

import copy
import dataclasses
import ssl
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from prism_proxy.backends.redis.names import Names
from prism_proxy.backends.redis.url import PORT, RedisUrl, parse_place, parse_url
from prism_proxy.backends.server_tls import ServerTls
from prism_proxy.contracts.driver import Area, Declaration
from prism_proxy.models.keyvalue import contract as keyvalue
from prism_proxy.models.pubsub import contract as pubsub
from prism_proxy.models.queue import contract as queue
from prism_proxy.models.stream import contract as stream
from prism_runtime.settings import check, setting
from prism_runtime.tls import TlsError

_PUBSUB = frozenset({pubsub.BASIC, pubsub.WILDCARDS, pubsub.BATCH})
_STREAM = frozenset({stream.BASIC, stream.GROUPS, stream.REPLAY, stream.RETENTION, stream.OPERATIONS})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ESCAPED = str.maketrans({char: f"%{ord(char):02X}" for char in "%:{}"})


class Address(NamedTuple):
    """Where a server listens: `path` for a Unix socket, else host and port."""

    host: str = ""
    port: int = 0
    path: str = ""


@dataclass(frozen=True, slots=True)
class RedisConfig:
    """A Redis server, a primary that sentinels watch over, or a cluster."""

    DECLARES: ClassVar[Declaration] = Declaration(
        "redis", keyvalue.ALL | _PUBSUB | _STREAM | queue.ALL, state="shared", durability="asynchronous",
        parts=frozenset({"pubsub", "stream", "queue"}))
    url: str = setting("The server: redis://HOST:PORT/DATABASE, rediss: for TLS, or unix:///PATH?db=DATABASE. Behind "
                       "sentinels and in a cluster it gives scheme and database only.", f"redis://127.0.0.1:{PORT}/0")
    mode: Literal["standalone", "sentinel", "cluster"] = setting(
        "What is connected to: one server, the primary that sentinels name, or a cluster.", "standalone",
        choices=("standalone", "sentinel", "cluster"))
    nodes: tuple[str, ...] = setting("HOST:PORT of the sentinels, or of some nodes of the cluster.", ())
    master_name: str = setting("The name under which sentinels know the primary.", "mymaster")
    username: str = setting("The ACL user; without it the password is that of the default user.", "")
    password: str = setting("The password of the user.", "", secret=True)
    sentinel_username: str = setting("The ACL user at the sentinels.", "")
    sentinel_password: str = setting("The password at the sentinels.", "", secret=True)
    tls: ServerTls = setting("TLS to the server, with `rediss:`.", factory=ServerTls)
    prefix: str = setting("What the keys of all namespaces begin with, before the name of the namespace.", "prism:")
    topic_prefix: str | None = setting("What the names of topics and streams begin with; PREFIX NAMESPACE/topic/ and "
                                       "PREFIX NAMESPACE/stream/ without. Give it, also as an empty text, to meet "
                                       "topics and streams that exist.", None)
    shared_names: bool = setting("Whether other namespaces may have the same topics, streams and queues: all of them "
                                 "must say so.", False)
    wait_replicas: int = setting("Messages are acknowledged when so many replicas have them, or their outcome is "
                                 "unknown after a second. Not in a cluster.", 0, minimum=0, maximum=32, unit="replicas")
    connections: int = setting("Pipelined connections of each worker; one more carries scans, batches and scripts. "
                               "Namespaces share them that have the same server, user, TLS, times, largest value "
                               "and number of connections.", 2, minimum=1, maximum=32, unit="connections")
    max_pending: int = setting("Commands of the namespace without a reply on one connection, before callers wait; of "
                               "namespaces that share it, those with commands there have equal parts of this.", 10_000,
                               minimum=1, maximum=1_000_000, unit="commands")
    bulk_bytes: int = setting("Values above this size do not travel with other commands.", 256 * 1024,
                              minimum=1024, unit="bytes")
    max_value_bytes: int = setting("A larger value is neither stored nor read: RESOURCE_EXHAUSTED, of that key alone. "
                                   "It must not be less than the server's max_message_bytes.", 16 * 1024 * 1024,
                                   minimum=1024, maximum=2**31 - 1, unit="bytes")
    connect_timeout_s: float = setting("Time to connect and to be greeted.", 2.0, minimum=0.01, maximum=60, unit="s")
    read_timeout_s: float = setting("The oldest command may wait so long for its reply; then the connection is given "
                                    "up.", 3.0, minimum=0.01, maximum=300, unit="s")
    max_wait_s: float = setting("How long a command waits when the connections are full.", 5.0, minimum=0, maximum=60,
                                unit="s")
    cluster_connections: int = setting("Connections to each node of a cluster.", 50, minimum=1, maximum=1000,
                                       unit="connections")
    # the namespace whose keys these settings lead to: no setting, see `within`
    namespace: str = dataclasses.field(default="", init=False)
    parsed: RedisUrl = dataclasses.field(init=False, compare=False)

    def __post_init__(self) -> None:
        check(self)
        try:
            parsed = parse_url(self.url)
        except ValueError as error:
            raise ValueError(f"url {error}") from None  # it holds the text
        object.__setattr__(self, "parsed", parsed)
        if self.mode != "standalone" and (not self.nodes or parsed.scheme == "unix"):
            raise ValueError(f"mode {self.mode} needs nodes, a list of HOST:PORT, and no unix socket")
        if self.mode == "cluster" and (parsed.database or self.tls.server_name):
            raise ValueError("a cluster has database 0 only, and nodes are recognised by their own names: leave out "
                             "the database of url, and tls.server_name")
        if self.mode == "cluster" and self.wait_replicas:
            raise ValueError("wait_replicas is not to be had in a cluster: remove it")
        if parsed.password and self.password:
            raise ValueError("password is given twice: within url and by itself")
        for number, node in enumerate(self.nodes, 1):
            try:
                parse_place(node)
            except ValueError as error:
                raise ValueError(f"nodes: number {number} {error}") from None

    def __repr__(self) -> str:
        return f"RedisConfig({self.mode}, {self.server}, {self.key_prefix!r})"

    def with_credentials(self, username: str, password: str) -> RedisConfig:
        """These settings for another user. ValueError where one is given already."""
        return dataclasses.replace(self, username=username, password=password)

    def within(self, namespace: str) -> RedisConfig:
        """These settings for the keys of one namespace."""
        bound = copy.copy(self)
        object.__setattr__(bound, "namespace", namespace)
        return bound

    def relocated(self, place: Callable[[Path], Path]) -> RedisConfig:
        """These settings with the Unix socket elsewhere; paths that stand by themselves are the caller's business."""
        if self.parsed.scheme != "unix":
            return self
        moved = dataclasses.replace(self.parsed, path=str(place(Path(self.parsed.path))))
        return dataclasses.replace(self, url=moved.text())

    @property
    def declaration(self) -> Declaration:
        return self.DECLARES

    @property
    def key_prefix(self) -> bytes:
        """What every key of the namespace begins with; no other namespace's begins with it too."""
        return f"{self.prefix}{self.namespace.translate(_ESCAPED)}:".encode()

    @property
    def areas(self) -> Collection[Area]:
        """One for each address that leads to the data. The names of this machine are taken for one."""
        if self.mode == "standalone":
            places, suffix = [self.address], f"/{self.database}"
        else:
            places = self.addresses
            suffix = f" {self.master_name}/{self.database}" if self.mode == "sentinel" else ""
        names, shared, areas = self.names, self.shared_names, []
        for place in places:
            server, machine = f"{self.mode} {_canonical(place)}{suffix}", _of_the_machine(place)
            areas += [Area(server, self.key_prefix, machine=machine), Area(server, names.streams, shared, machine),
                      Area(server, names.queues, shared, machine),
                      Area(f"{server}, topics", names.topics, shared, machine)]
        return areas

    @property
    def names(self) -> Names:
        """Of topics, streams and queues at the server."""
        if self.topic_prefix is not None:
            prefix = self.topic_prefix.encode()
            return Names(prefix, prefix, prefix + b"{")
        base = f"{self.prefix}{self.namespace.translate(_ESCAPED)}".encode()
        return Names(base + b"/topic/", base + b"/stream/", base + b"/queue/{")

    @property
    def address(self) -> Address:
        if self.parsed.scheme == "unix":
            return Address(path=self.parsed.path)
        return Address(self.parsed.host or "127.0.0.1", self.parsed.port)

    @property
    def addresses(self) -> list[Address]:
        """Of the sentinels, or of the cluster's nodes."""
        return [Address(*parse_place(node)) for node in self.nodes]

    @property
    def database(self) -> int:
        return self.parsed.database

    @property
    def credentials(self) -> tuple[str, str]:
        """(user, password), either may be empty."""
        return self.username or self.parsed.username, self.password or self.parsed.password

    @property
    def shared_pool_key(self) -> Hashable:
        """Equal where namespaces share connections: the same server, spoken to as the same user in the same way, and
        connections that are kept alike. Holds secrets."""
        where = (self.address,) if self.mode == "standalone" else (*self.addresses, self.master_name)
        size = self.cluster_connections if self.mode == "cluster" else self.connections
        return (self.mode, where, self.database, self.credentials, self.sentinel_username, self.sentinel_password,
                self.tls if self.secure else None, size, self.connect_timeout_s, self.read_timeout_s,
                self.max_value_bytes)

    @property
    def server(self) -> str:
        """The server, as operators see it."""
        if self.mode == "standalone":
            return self.address.path or f"{self.address.host}:{self.address.port}"
        nodes = ",".join(self.nodes)
        return f"{self.master_name}@{nodes}" if self.mode == "sentinel" else nodes

    @property
    def secure(self) -> bool:
        return self.parsed.secure

    def trouble(self) -> tuple[str, str] | None:
        """A setting that names a file which cannot be used, and why, for those who look before a start."""
        try:
            self.tls_context()
        except TlsError as error:
            return f"tls.{error.field}_file", f"is of no use: {error}"
        return None

    def tls_context(self) -> ssl.SSLContext | None:
        return self.tls.context() if self.secure else None


def _canonical(address: Address) -> str:
    if address.path:
        return str(Path(address.path).absolute())
    host = "localhost" if _of_the_machine(address) else _host(address)
    return f"{host}:{address.port}"


def _of_the_machine(address: Address) -> bool:
    """Whether the address leads to another server on another machine."""
    return bool(address.path) or _host(address) in _LOOPBACK


def _host(address: Address) -> str:
    return address.host.lower().rstrip(".")
