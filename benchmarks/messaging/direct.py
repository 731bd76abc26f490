"""What a broker costs without a proxy: plain pipelined Redis and NATS commands, as a peer of our own rows.

`python -m benchmarks.messaging.direct MODE PORT SIZE MESSAGES` does one row and prints what message_load would. It
counts replies and deliveries and reads no more of them: the CPU that is measured is the broker's, not this client's.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from benchmarks.loads import LoadError
from benchmarks.machine import LOAD_CORE, ROOT, pinned
from benchmarks.messaging.load import MessageResult, parse

BATCH = 100
IN_FLIGHT = 1000
CHUNK = 1 << 20
QUIET_S = 20.0  # a broker that says nothing for so long has lost something
_DELIVERED = re.compile(rb"MSG \S+ \d+ (\$JS\.ACK\.\S+) \d+\r\n")
Counted = tuple[int, int]  # messages, deliveries


def run(port: int, mode: str, size: int, messages: int) -> MessageResult:
    """In a process of its own, on the core of the load."""
    command = pinned(LOAD_CORE, [sys.executable, "-m", __name__, mode, str(port), str(size), str(messages)])
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        raise LoadError(f"{mode} failed: {done.stderr.strip()[-300:]}")
    return parse(done.stdout)


class Peer:
    """A connection whose answers are counted by a word that each has once."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(QUIET_S)
        self._rest = b""
        self._ahead = 0

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def count(self, word: bytes, wanted: int) -> None:
        """Read until so many have come; those that came already count for the next time."""
        wanted -= self._ahead
        while wanted > 0:
            data = self._rest + self.read()
            found = data.count(word)
            wanted -= found
            self._rest = data[max(data.rfind(word) + len(word) if found else 0, len(data) - len(word) + 1):]
        self._ahead = -wanted

    def read(self) -> bytes:
        data = self._socket.recv(CHUNK)
        if not data:
            raise LoadError("the broker closed the connection")
        if b"-ERR" in data:
            raise LoadError(data.decode(errors="replace"))
        return data

    def skip(self, size: int) -> None:
        """Read so many bytes."""
        while size:
            size -= len(self._socket.recv(min(CHUNK, size)))


def resp(*words: bytes | int | str) -> bytes:
    encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)


def listened(peers: Sequence[Peer], size: int, publish: Callable[[], None]) -> None:
    """Every peer gets so many bytes while `publish` runs."""
    threads = [threading.Thread(target=peer.skip, args=(size,)) for peer in peers]
    for thread in threads:
        thread.start()
    publish()
    for thread in threads:
        thread.join()


# --- Redis ------------------------------------------------------------------------------------------------------------


def redis_publish(port: int, size: int, messages: int, subscribers: int = 0) -> Counted:
    """PUBLISH in pipelines, to nobody or to some."""
    publisher, peers = Peer(port), [Peer(port) for _ in range(subscribers)]
    for peer in peers:
        peer.send(resp("SUBSCRIBE", "t"))
        peer.count(b":1\r\n", 1)
    pipeline = resp("PUBLISH", "t", bytes(size)) * BATCH

    def publish() -> None:
        for _ in range(messages // BATCH):
            publisher.send(pipeline)
            publisher.count(b":%d\r\n" % subscribers, BATCH)

    listened(peers, len(resp("message", "t", bytes(size))) * messages, publish)
    return messages, messages * subscribers


def redis_append(port: int, size: int, messages: int) -> Counted:
    """XADD in pipelines."""
    peer = Peer(port)
    peer.send(resp("DEL", "s"))
    peer.count(b":", 1)
    pipeline = resp("XADD", "s", "*", "data", bytes(size)) * BATCH
    for _ in range(messages // BATCH):
        peer.send(pipeline)
        peer.count(b"-", BATCH)  # of the ids
    return messages, 0


def redis_consume(port: int, size: int, messages: int) -> Counted:
    """XREADGROUP, XACK and XDEL by batches, of what `redis_append` left."""
    peer = Peer(port)
    peer.send(resp("XGROUP", "CREATE", "s", "g", "0"))
    peer.count(b"\r\n", 1)
    for _ in range(messages // BATCH):
        peer.send(resp("XREADGROUP", "GROUP", "g", "c", "COUNT", BATCH, "STREAMS", "s", ">"))
        found = b""
        while found.count(b"data\r\n") < BATCH or not found.endswith(bytes(size) + b"\r\n"):
            found += peer.read()
        ids = re.findall(rb"\r\n(\d+-\d+)\r\n", found)
        peer.send(resp("XACK", "s", "g", *ids) + resp("XDEL", "s", *ids))
        peer.count(b":%d\r\n" % BATCH, 2)
    return messages, 0


# --- NATS -------------------------------------------------------------------------------------------------------------


def nats_peer(port: int) -> Peer:
    peer = Peer(port)
    peer.send(b'CONNECT {"verbose":false,"no_responders":true,"headers":true}\r\nPING\r\n')
    peer.count(b"PONG\r\n", 1)
    return peer


def nats_publish(port: int, size: int, messages: int, subscribers: int) -> Counted:
    """PUB in pipelines, to as many subscribers."""
    publisher, peers = nats_peer(port), [nats_peer(port) for _ in range(subscribers)]
    for peer in peers:
        peer.send(b"SUB t 1\r\nPING\r\n")
        peer.count(b"PONG\r\n", 1)
    pipeline = b"PUB t %d\r\n%b\r\n" % (size, bytes(size)) * BATCH

    def publish() -> None:
        for _ in range(messages // BATCH):
            publisher.send(pipeline)
        publisher.send(b"PING\r\n")
        publisher.count(b"PONG\r\n", 1)

    listened(peers, len(b"MSG t 1 %d\r\n%b\r\n" % (size, bytes(size))) * messages, publish)
    return messages, messages * subscribers


def jetstream_append(port: int, size: int, messages: int) -> Counted:
    """Publishes to a stream on disk, acknowledged, up to IN_FLIGHT at once."""
    peer = nats_peer(port)
    peer.send(b"SUB _INBOX.m 1\r\n")
    ask(peer, b"STREAM.DELETE.S", {})
    ask(peer, b"STREAM.CREATE.S", {"name": "S", "subjects": ["s"], "storage": "file"})
    peer.send(b"SUB _INBOX.p 2\r\n")
    pipeline = b"PUB s _INBOX.p %d\r\n%b\r\n" % (size, bytes(size)) * BATCH
    for number in range(messages // BATCH):
        peer.send(pipeline)
        if number >= IN_FLIGHT // BATCH:
            peer.count(b'"seq":', BATCH)
    peer.count(b'"seq":', min(messages, IN_FLIGHT))
    return messages, 0


def jetstream_consume(port: int, size: int, messages: int) -> Counted:
    """Pulled and acknowledged by batches, of what `jetstream_append` left."""
    peer = nats_peer(port)
    peer.send(b"SUB _INBOX.m 1\r\n")
    ask(peer, b"CONSUMER.CREATE.S.c", {"stream_name": "S", "config": {
        "name": "c", "durable_name": "c", "ack_policy": "explicit", "max_ack_pending": 10 * BATCH}})
    peer.send(b"SUB _INBOX.n 2\r\n")
    wanted = json.dumps({"batch": BATCH, "expires": 10**10}).encode()
    for _ in range(messages // BATCH):
        peer.send(b"PUB $JS.API.CONSUMER.MSG.NEXT.S.c _INBOX.n %d\r\n%b\r\n" % (len(wanted), wanted))
        found = b""
        while len(receipts := _DELIVERED.findall(found)) < BATCH:
            found += peer.read()
        while not found.endswith(bytes(size) + b"\r\n"):
            found += peer.read()
        peer.send(b"".join(b"PUB %b 4\r\n+ACK\r\n" % receipt for receipt in receipts))
    peer.send(b"PING\r\n")
    peer.count(b"PONG\r\n", 1)
    return messages, 0


def ask(peer: Peer, subject: bytes, body: dict[str, object]) -> None:
    data = json.dumps(body).encode()
    peer.send(b"PUB $JS.API.%b _INBOX.m %d\r\n%b\r\n" % (subject, len(data), data))
    peer.count(b'"type":"io.nats', 1)


MODES: dict[str, Callable[[int, int, int], Counted]] = {
    "redis-publish": redis_publish,
    "redis-deliver-10": lambda port, size, messages: redis_publish(port, size, messages // 10, 10),
    "redis-append": redis_append,
    "redis-consume": redis_consume,
    "nats-deliver-1": lambda port, size, messages: nats_publish(port, size, messages, 1),
    "nats-deliver-10": lambda port, size, messages: nats_publish(port, size, messages // 10, 10),
    "jetstream-append": jetstream_append,
    "jetstream-consume": jetstream_consume,
}


def main() -> None:
    mode, port, size, count = sys.argv[1], *map(int, sys.argv[2:])
    began = time.monotonic()
    messages, deliveries = MODES[mode](port, size, count)
    print(json.dumps({"messages": messages, "deliveries": deliveries, "errors": 0, "first_error": "",
                      "seconds": time.monotonic() - began, "p50_us": 0.0, "p99_us": 0.0}))


if __name__ == "__main__":
    main()
