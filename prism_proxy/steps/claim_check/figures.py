"""What operators see of a namespace's claims. It outlives changes of the configuration."""

from __future__ import annotations

from collections.abc import Iterable

from prism_proxy.telemetry.metrics import Metric, Sample

PREFIX = "prism_pattern_claim_check"


class Figures:
    """Counters of one namespace in this process."""

    def __init__(self, namespace: str) -> None:
        self._label = (("namespace", namespace),)
        self.stored = self.stored_bytes = self.retrieved = self.retrieved_bytes = 0
        self.deleted = self.delete_failures = self.not_found = self.expired = self.orphans = self.aborted = 0
        self.referenced = self.copied = 0
        self.rejected: dict[str, int] = {}
        self.upload_seconds = self.retrieval_seconds = 0.0
        self.pending_deletions = 0

    def reject(self, reason: str) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    def metrics(self) -> Iterable[Metric]:
        for name, text, count in (
            ("stored", "Payloads put into the object store.", self.stored),
            ("stored_bytes", "Bytes of these objects.", self.stored_bytes),
            ("retrieved", "Payloads read for a delivery or a Fetch.", self.retrieved),
            ("retrieved_bytes", "Bytes of these payloads.", self.retrieved_bytes),
            ("referenced", "Messages delivered as their claim.", self.referenced),
            ("deleted", "Objects deleted because their message was settled or never published.", self.deleted),
            ("delete_failures", "Deletions that failed; what stays is collected later.", self.delete_failures),
            ("not_found", "Messages whose object was gone.", self.not_found),
            ("expired", "Messages that were read after ttl.max_age.", self.expired),
            ("collected", "Objects that expired, or whose message was never acknowledged, deleted by a sweep.",
             self.orphans),
            ("uploads_aborted", "Unfinished uploads that a sweep removed.", self.aborted),
            ("dead_letter_copies", "Objects copied because their message may become a dead letter.", self.copied),
            ("upload_seconds", "Time of uploads, all together.", self.upload_seconds),
            ("retrieval_seconds", "Time of retrievals, all together.", self.retrieval_seconds),
        ):
            yield Metric(f"{PREFIX}_{name}_total", "counter", text, [Sample(self._label, float(count))])
        yield Metric(f"{PREFIX}_rejected_total", "counter", "Messages whose claim or object was not acceptable.", [
            Sample((*self._label, ("reason", why)), float(count)) for why, count in sorted(self.rejected.items())])
        yield Metric(f"{PREFIX}_pending_deletions", "gauge", "Objects that wait for retention_after_read.",
                     [Sample(self._label, float(self.pending_deletions))])
