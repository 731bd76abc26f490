"""What can be wrong with a claim. All of it is permanent: the same message never becomes readable."""

from __future__ import annotations

from prism_proxy.errors import PrismError, StatusCode


def expired(claim_id: str) -> PrismError:
    return PrismError(
        StatusCode.FAILED_PRECONDITION, "CLAIM_EXPIRED",
        f"claim {claim_id} has expired: raise claim_check.ttl.max_age where messages wait for longer",
        {"claim_id": claim_id})


def not_found(claim_id: str) -> PrismError:
    return PrismError(
        StatusCode.NOT_FOUND, "CLAIM_NOT_FOUND",
        f"the object of claim {claim_id} is gone: it was read and deleted, or it expired", {"claim_id": claim_id})


def mismatch(claim_id: str, what: str) -> PrismError:
    return PrismError(
        StatusCode.INTERNAL, "CLAIM_CHECKSUM_MISMATCH",
        f"the object of claim {claim_id} is not the one that was published: {what}", {"claim_id": claim_id})


def corrupt(what: str) -> PrismError:
    return PrismError(StatusCode.INTERNAL, "CLAIM_CORRUPT", f"the claim of this message cannot be used: {what}")
