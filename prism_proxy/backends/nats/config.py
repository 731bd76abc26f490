"""Settings of a NATS namespace, and what the backend declares by them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from prism_proxy.backends.nats.addresses import Address, NatsUrl, parse_url
from prism_proxy.backends.nats.names import Names, token
from prism_proxy.backends.server_tls import ServerTls
from prism_proxy.contracts.driver import Area, Declaration
from prism_proxy.models.messages import DeliveryClass, Guarantee
from prism_proxy.models.pubsub import contract as pubsub
from prism_proxy.models.queue import contract as queue
from prism_proxy.models.stream import contract as stream
from prism_runtime.settings import check, setting
from prism_runtime.tls import TlsError

CORE = frozenset({pubsub.BASIC, pubsub.WILDCARDS, pubsub.BATCH, pubsub.FILTERING})
WITH_JETSTREAM = frozenset({
    pubsub.PERSISTENT, pubsub.ORDERING, pubsub.OPERATIONS,
    stream.BASIC, stream.GROUPS, stream.REPLAY, stream.RETENTION, stream.OPERATIONS,
    queue.BASIC, queue.VISIBILITY, queue.DEAD_LETTER, queue.DELAYED, queue.BATCH,
    queue.OPERATIONS})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class NatsTls(ServerTls):
    """How the server is recognised, and how it recognises the proxy; and when TLS begins."""

    enabled: bool = setting("Whether to speak TLS; with tls:// and to a server that demands it, it is spoken anyway.",
                            False)
    first: bool = setting("Whether TLS begins before the server says a word, as its handshake_first wants.", False)


@dataclass(frozen=True, slots=True)
class NatsConfig:
    """A NATS server or cluster."""

    DECLARES: ClassVar[Declaration] = Declaration(
        "nats", CORE | WITH_JETSTREAM, state="shared", durability="asynchronous",
        parts=frozenset({"pubsub", "stream", "queue"}))
    url: str = setting("The servers: nats://HOST:PORT, tls:// for TLS, several with commas between. Others of their "
                       "cluster are learnt.", "nats://127.0.0.1:4222")
    username: str = setting("The user; without it that of the URL.", "")
    password: str = setting("The password of the user.", "", secret=True)
    token: str = setting("The token, where the server asks for one.", "", secret=True)
    nkey_file: Path | None = setting("A file with the seed of an nkey, which signs the server's challenge.", None)
    credentials_file: Path | None = setting("A .creds file: the user's JWT and the seed of its nkey.", None)
    tls: NatsTls = setting("TLS to the server.", factory=NatsTls)
    prefix: str | None = setting("What subjects begin with; the name of the namespace and a dot without. Give it, also "
                                 "as an empty text, to meet subjects that exist.", None)
    jetstream: bool = setting("Whether the account has JetStream: then there are logs of topics, streams and queues "
                              "too.", False)
    create: bool = setting("Whether JetStream's streams are made on first use; else what is not there is NOT_FOUND.",
                           True)
    replicas: int = setting("Copies of JetStream's streams that are made.", 1, minimum=1, maximum=5, unit="copies")
    storage: Literal["file", "memory"] = setting("Where JetStream's streams that are made are kept.", "file",
                                                 choices=("file", "memory"))
    sync_interval: float = setting(
        "The sync_interval of the server's JetStream, 0 for always: the server does not say it. What a loss of power "
        "may cost follows from it.", 120.0, minimum=0, maximum=86_400, unit="s")
    domain: str = setting("The domain of JetStream, where it is another one than the server's own.", "")
    shared_names: bool = setting("Whether other namespaces may have the same topics, streams and queues: all of them "
                                 "must say so.", False)
    connection_name: str = setting("What the server calls the proxy's connection.", "prism-proxy")
    inbox_prefix: str = setting("What the subjects begin with at which the proxy is answered: the user must be "
                                "permitted to subscribe below it.", "_INBOX")
    connect_timeout: float = setting("Time to connect and to be greeted.", 2.0, minimum=0.01, maximum=60, unit="s")
    request_timeout: float = setting("Time in which the server must answer.", 5.0, minimum=0.01, maximum=300, unit="s")
    ping_interval: float = setting("A silent server is asked for a sign of life so often; two that fail to come end "
                                   "the connection.", 20.0, minimum=0.1, maximum=3600, unit="s")
    reconnect_first: float = setting("The pause before the second attempt to connect; it doubles with each.", 0.05,
                                     minimum=0.001, maximum=60, unit="s")
    reconnect_most: float = setting("The longest pause between attempts to connect.", 5.0, minimum=0.01, maximum=3600,
                                    unit="s")
    max_pending_bytes: int = setting("Bytes that wait for the server before publishers wait.", 16 * 1024 * 1024,
                                     minimum=64 * 1024, maximum=2**31, unit="bytes")
    # the namespace that these settings lead to: no setting, see `within`
    namespace: str = dataclasses.field(default="", init=False)
    parsed: NatsUrl = dataclasses.field(init=False, compare=False)

    def __post_init__(self) -> None:
        check(self)
        try:
            parsed = parse_url(self.url)
        except ValueError as error:
            raise ValueError(f"url {error}") from None  # it holds the text
        object.__setattr__(self, "parsed", parsed)
        ways = [name for name, given in (
            ("a user", self.username or self.password or parsed.user), ("token", self.token),
            ("nkey_file", self.nkey_file), ("credentials_file", self.credentials_file)) if given]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} are given: a server takes one of them")
        if parsed.user and (self.username or self.password):
            raise ValueError("username is given twice: within url and by itself")
        if self.prefix is not None:
            _check_prefix(self.prefix)
        if not self.inbox_prefix or not all(self.inbox_prefix.split(".")) or set(self.inbox_prefix) & set(" \t\r\n*>"):
            raise ValueError("inbox_prefix is one or more whole tokens, without blanks and wildcards")

    def __repr__(self) -> str:
        return f"NatsConfig({self.server}, {self.names.prefix!r})"

    def with_credentials(self, username: str, password: str) -> NatsConfig:
        """These settings for another user. ValueError where one is given already."""
        return dataclasses.replace(self, username=username, password=password)

    def within(self, namespace: str) -> NatsConfig:
        """These settings for the subjects of one namespace."""
        bound = copy.copy(self)
        object.__setattr__(bound, "namespace", namespace)
        return bound

    @property
    def declaration(self) -> Declaration:
        if self.jetstream:
            return dataclasses.replace(self.DECLARES, durability=self._durability)
        return dataclasses.replace(self.DECLARES, interfaces=CORE, durability="volatile", parts=frozenset({"pubsub"}),
                                   switched_off=WITH_JETSTREAM, switch="set jetstream: true where the server has it")

    @property
    def logged(self) -> DeliveryClass:
        """What may be lost of what JetStream stored."""
        copies = f"Streams that are made have {self.replicas} copies." if self.replicas > 1 else ""
        notes = tuple(note for note in (
            copies, "The server's sync_interval is taken from the settings of the namespace.") if note)
        if self.storage == "memory":
            lost = "what no other copy has" if self.replicas > 1 else "everything"
            return DeliveryClass(Guarantee.AT_LEAST_ONCE, lost, lost, notes=notes)
        power = "nothing" if not self.sync_interval else f"up to {self.sync_interval:g} s"
        if self.replicas > 1 and self.sync_interval:
            power += ", where all copies lose it together"
        return DeliveryClass(Guarantee.AT_LEAST_ONCE, "nothing", power, notes=notes)

    @property
    def _durability(self) -> str:
        return "synced" if self.storage == "file" and not self.sync_interval else "asynchronous"

    @property
    def names(self) -> Names:
        return Names(f"{token(self.namespace)}." if self.prefix is None else self.prefix)

    @property
    def areas(self) -> Collection[Area]:
        """One for each address that leads to the servers. The names of this machine are taken for one."""
        return [Area(_canonical(server), self.names.prefix.encode(), self.shared_names)
                for server in self.parsed.servers]

    @property
    def credentials(self) -> tuple[str, str, str]:
        """(user, password, token); a user without password within the URL is a token."""
        if self.parsed.user and not self.parsed.password:
            return "", "", self.parsed.user
        return self.username or self.parsed.user, self.password or self.parsed.password, self.token

    @property
    def client_key(self) -> Hashable:
        """Equal where namespaces share a connection: the same servers, spoken to as the same user in the same way.
        Holds secrets."""
        return (self.parsed.servers, self.secure, self.credentials, self.nkey_file, self.credentials_file, self.tls,
                self.connection_name, self.inbox_prefix, self.connect_timeout, self.request_timeout, self.ping_interval,
                self.reconnect_first, self.reconnect_most, self.max_pending_bytes)

    @property
    def server(self) -> str:
        """The servers, as operators see them."""
        return ",".join(map(str, self.parsed.servers))

    @property
    def secure(self) -> bool:
        return self.tls.enabled or self.tls.first or self.parsed.secure

    def trouble(self) -> tuple[str, str] | None:
        """A setting that names a file which cannot be used, and why, for those who look before a start."""
        for name, path in (("nkey_file", self.nkey_file), ("credentials_file", self.credentials_file)):
            if path is not None:
                try:
                    path.read_bytes()
                except OSError as error:
                    return name, f"cannot be read: {error.strerror}"
        try:
            self.tls.context()
        except TlsError as error:
            return f"tls.{error.field}_file", f"is of no use: {error}"
        return None


def _check_prefix(prefix: str) -> None:
    if not prefix.isprintable() or any(char.isspace() or char in "*>" for char in prefix):
        raise ValueError("prefix has a blank or a wildcard: it is the begin of subjects")
    if prefix.startswith(("$", "_INBOX", ".")) or ".." in prefix:
        raise ValueError("prefix begins as the server's own subjects do, or has an empty token")
    if prefix and not prefix.endswith("."):
        raise ValueError("prefix does not end with a dot: it is one or more whole tokens")


def _canonical(address: Address) -> str:
    host = address.host.lower().rstrip(".")
    return f"nats {'localhost' if host in _LOOPBACK else host}:{address.port}"
