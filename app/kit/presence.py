"""Who came lately, as far as all processes know that were forked from the one which imported this."""

import mmap
import struct
from uuid import UUID

_PLACE = struct.Struct("16sd")
_PLACES = (0, _PLACE.size)
_NOTE_SECONDS = 0.05
# Anonymous and shared: whoever is forked from here writes to the same page.
_memory = mmap.mmap(-1, mmap.PAGESIZE)


class Presence:
    """The two parties that were noted last, and when: enough to know whether somebody is alone.

    Processes write without a lock. At worst a party is seen that was never there, until `period` seconds are over.
    Times are of time.monotonic, which all processes of a machine share.
    """

    def __init__(self, period: float, memory: mmap.mmap = _memory) -> None:
        self._period = period
        self._memory = memory
        self._note_at = 0.0
        self._is_company = False

    def is_company(self, party: UUID, now: float) -> bool:
        """Whether more than one party came within the period, `party` among them, which is noted now and then."""
        if now >= self._note_at:
            self._note_at = now + _NOTE_SECONDS
            self._is_company = self._note(party.bytes, now)
        return self._is_company

    def _note(self, name: bytes, now: float) -> bool:
        places = [_PLACE.unpack_from(self._memory, offset) for offset in _PLACES]
        mine = next((number for number, one in enumerate(places) if one[0] == name), None)
        if mine is None:
            mine = min(range(len(places)), key=lambda number: places[number][1])
        _PLACE.pack_into(self._memory, _PLACES[mine], name, now)
        other = places[1 - mine]
        return bool(now - other[1] < self._period)
