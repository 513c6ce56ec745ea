"""A name server that says what it is told, each time something else if wanted."""

import socket
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from ipaddress import IPv4Address, ip_address
from typing import Self

from dnslib import AAAA, CNAME, QTYPE, RCODE, RR, TXT, A, DNSRecord

Round = Sequence[str]


class NameServer(AbstractContextManager["NameServer"]):
    """Answers A, AAAA and TXT. A name has rounds: the addresses of its first lookup, its second, the last for ever."""

    def __init__(self, host: str, port: int = 53) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._rounds: dict[str, Sequence[Round]] = {}
        self._aliases: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self.address = f"{host}:{self._socket.getsockname()[1]}"
        self.asked: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(timeout=5)

    def say(self, name: str, *rounds: Round) -> str:
        """What a name resolves to, lookup after lookup; returns the name."""
        self._rounds[name] = rounds
        return name

    def alias(self, name: str, target: str) -> str:
        """Makes a name a CNAME of another; returns the name."""
        self._aliases[name] = target
        return name

    def publish(self, name: str, text: str) -> None:
        """Gives a name a TXT record."""
        self._texts[name] = text

    def _serve(self) -> None:
        while True:
            try:
                packet, peer = self._socket.recvfrom(4096)
                if not packet:  # it was shut down
                    return
                self._socket.sendto(self._answer(DNSRecord.parse(packet)).pack(), peer)
            except OSError:
                return

    def _answer(self, query: DNSRecord) -> DNSRecord:
        reply = query.reply()
        name, kind = str(query.q.qname).rstrip(".").lower(), QTYPE[query.q.qtype]
        if kind == "TXT" and name in self._texts:
            reply.add_answer(RR(query.q.qname, QTYPE.TXT, rdata=TXT(self._texts[name]), ttl=0))
            return reply
        target = self._aliases.get(name, name)
        if target != name:
            reply.add_answer(RR(query.q.qname, QTYPE.CNAME, rdata=CNAME(target), ttl=0))
        if target not in self._rounds:
            reply.header.rcode = RCODE.NXDOMAIN
        for address in self._next(target, kind):
            record = (QTYPE.A, A(address)) if kind == "A" else (QTYPE.AAAA, AAAA(tuple(ip_address(address).packed)))
            reply.add_answer(RR(target, record[0], rdata=record[1], ttl=0))
        return reply

    def _next(self, name: str, kind: str) -> list[str]:
        rounds = self._rounds.get(name, [[]])
        chosen = rounds[min(self.asked[name, kind], len(rounds) - 1)]
        self.asked[name, kind] += 1
        return [address for address in chosen if _kind(address) == kind]


def _kind(address: str) -> str:
    return "A" if isinstance(ip_address(address), IPv4Address) else "AAAA"
