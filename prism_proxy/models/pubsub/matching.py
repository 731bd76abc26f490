"""Which subscriptions a topic reaches: exact topics by a dict, patterns by a trie over their tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class _Node(Generic[T]):
    __slots__ = ("children", "here", "rest")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.here: list[T] = []  # of patterns that end here
        self.rest: list[T] = []  # of patterns that end with > here


class TopicTrie(Generic[T]):
    """`*` stands for one token, a last `>` for one or more. Values may repeat."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, pattern: str, value: T) -> None:
        node, last = self._place(pattern)
        (node.rest if last else node.here).append(value)
        self._count += 1

    def discard(self, pattern: str, value: T) -> None:
        """Nothing happens when it is not there. Nodes that nothing needs go."""
        tokens = pattern.split(".")
        last = tokens[-1] == ">"
        path = [self._root]
        for token in tokens[:-1] if last else tokens:
            found = path[-1].children.get(token)
            if found is None:
                return
            path.append(found)
        values = path[-1].rest if last else path[-1].here
        if value not in values:
            return
        values.remove(value)
        self._count -= 1
        for parent, node, token in zip(reversed(path[:-1]), reversed(path[1:]),
                                       reversed(tokens[:-1] if last else tokens), strict=True):
            if not (node.children or node.here or node.rest):
                del parent.children[token]

    def match(self, topic: str) -> Iterator[T]:
        """The values of all patterns that the topic fits."""
        if not self._count:
            return
        tokens = topic.split(".")
        end = len(tokens)
        stack = [(self._root, 0)]
        while stack:
            node, at = stack.pop()
            if at == end:
                yield from node.here
                continue
            yield from node.rest
            for token in (tokens[at], "*"):
                child = node.children.get(token)
                if child is not None:
                    stack.append((child, at + 1))

    def _place(self, pattern: str) -> tuple[_Node[T], bool]:
        node = self._root
        tokens = pattern.split(".")
        last = tokens[-1] == ">"
        for token in tokens[:-1] if last else tokens:
            node = node.children.setdefault(token, _Node())
        return node, last
