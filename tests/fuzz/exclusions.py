"""What schemathesis may be refused although the document allows it. Nothing else is left out: every check, every phase.

JSON Schema tells of shapes. What follows depends on other rows, on the time, or on what no pattern can say; tests that
look by value hold each of them.
"""

import json
import re
from dataclasses import dataclass

REJECTED_POSITIVE_DATA = "ST202"
USE_AFTER_FREE = "ST301"


@dataclass(frozen=True)
class Exclusion:
    """A refusal that is right: a 422 all of whose faults are of such types, or another status with such a code."""

    reason: str
    status: int
    words: frozenset[str]
    where: str = ".*"

    def covers(self, status: int, where: str, word: str) -> bool:
        """Whether it is about this fault: where it was found, and the machine's word for it."""
        return status == self.status and word in self.words and re.fullmatch(self.where, where) is not None


def _faults(reason: str, where: str, *types: str) -> Exclusion:
    return Exclusion(reason, 422, frozenset(types), where)


def _problem(reason: str, *codes: str) -> Exclusion:
    return Exclusion(reason, 400, frozenset(codes))


EXCLUSIONS = [
    _faults("an iterator is sealed for one list of one owner", "query.iterator", "value_error"),
    _faults("which event types exist is not in the document", "body.(event|filter)Types?", "event_type_unknown"),
    _faults("which hosts and ports may be called is the operator's choice", "body.(url|issuer)", "url_refused"),
    _faults("what a client is of the provider needs hangs on its other fields", "body.clientSecret", "value_error"),
    _faults("some header names are the transport's own, and names differ by more than case", ".*", "header_refused"),
    _faults("where its generator fills no pattern of tags it puts a 0", "header.if-(none-)?match", "value_error"),
    _faults("a window ends before now and begins so many days before", "(body|query).(since|until)", "value_error"),
    _faults("a delivery is put off until its payload expires at most", "body.deliverAt", "value_error"),
    _problem("what a contract answers by 400 is about the state of things", "limit_reached", "missing_payload"),
    _problem("the same", "endpoint_disabled", "no_example"),
    Exclusion("what is not there bears no tag at all", 412, frozenset({"precondition_failed"})),
]
# What is there after a DELETE of it, by the contract: an archived event type, which comes back when it is made again.
KEPT = re.compile(r"/api/v1/event-type/[^/]+")


def excluded(code: str, path: str, status: int, body: bytes) -> bool:
    """Whether a failure of this code is no fault of the API's."""
    if code == USE_AFTER_FREE:
        return KEPT.fullmatch(path) is not None
    if code != REJECTED_POSITIVE_DATA:
        return False
    problem = json.loads(body)
    found = [("", problem["code"])]
    if isinstance(problem["detail"], list):
        found = [(".".join(one["loc"]), one["type"]) for one in problem["detail"]]
    return all(any(one.covers(status, *fault) for one in EXCLUSIONS) for fault in found)
