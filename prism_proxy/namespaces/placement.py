"""Which worker serves a namespace."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Placement:
    """This process is `worker` of `workers`; alone by default."""

    worker: int = 0
    workers: int = 1

    def elsewhere(self, partition: int, state: str) -> int | None:
        """The worker that has the state of a namespace; None when it is served here.

        Shared state is served by every worker, local state by the owner of the partition alone.
        """
        owner = worker_of(partition, self.workers)
        return owner if state == "local" and owner != self.worker else None


def worker_of(partition: int, workers: int) -> int:
    """The worker that has the local state of a partition."""
    return partition % workers
