"""What must never be called: addresses, and the forms in which they are smuggled in."""

from ipaddress import IPv4Address, IPv6Address

DENIED_V4 = (
    "0.0.0.0",  # noqa: S104  # nothing is bound to it
    "0.1.2.3",
    "10.9.9.9",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.8.8.8",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.254",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.254",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
)
DENIED_V6 = (
    "::",
    "::1",
    "::7f00:1",
    "::a09:909",
    "64:ff9b:1::a09:909",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
)
INTERNAL = ("127.0.0.1", "10.9.9.9", "169.254.169.254", "192.168.1.1")
PUBLIC_V4, PUBLIC_V6 = "1.2.3.4", "2606:4700::1111"


def _disguised(address: str) -> list[str]:
    """An IPv4 address within IPv6: mapped, translated, NAT64, 6to4 and Teredo."""
    number = int(IPv4Address(address))
    inverted = number ^ 0xFFFF_FFFF
    return [
        f"::ffff:{address}",
        str(IPv6Address(0xFFFF << 48 | number)),
        str(IPv6Address((0x64FF9B << 96) | number)),
        str(IPv6Address((0x2002 << 112) | (number << 80) | 1)),
        str(IPv6Address((0x20010000 << 96) | (int(IPv4Address("1.2.3.4")) << 64) | inverted)),
    ]


DISGUISED = tuple(form for address in INTERNAL for form in _disguised(address))
ADDRESSES = DENIED_V4 + DENIED_V6 + DISGUISED


def literal_url(address: str, scheme: str = "http") -> str:
    """The URL of an address."""
    return f"{scheme}://[{address}]/" if ":" in address else f"{scheme}://{address}/"


def _spellings(address: str) -> list[str]:
    """Ways to write an IPv4 address that some parser or resolver takes."""
    a, b, c, d = (int(part) for part in address.split("."))
    number = int(IPv4Address(address))
    wide = str.maketrans("0123456789.", "０１２３４５６７８９．")
    ringed = str.maketrans("0123456789", "⓪①②③④⑤⑥⑦⑧⑨")
    return [
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"{a:#X}.{b}.0{c:o}.{d}",
        f"{number:#x}",
        f"0{number:o}",
        f"{number}",
        f"{number + 2**32}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{number & 0xFFFF}",
        f"{a:#x}.{number & 0xFFFFFF}",
        f"{a:03}.{b:03}.{c:03}.{d:03}",
        f"{a}.{b}.{c}.{d + 256}",
        f"{address}.",
        f"{address}..",
        address.translate(wide),
        address.translate(ringed),
        address.replace(".", "。"),
        address.replace(".", "｡"),
        address.replace(".", "%2e"),
        "".join(f"%{ord(one):02x}" for one in address),
        f"{address}\u00ad",
        f"{address}\u200b",
        f"{address}%00.example.com",
        f"{address}\t",
        f"[{address}]",
        f"[::ffff:{address}%25lo]",
        f"[::ffff:{address}%lo]",
        f"{PUBLIC_V4}@{address}",
        f"{PUBLIC_V4}:80@{address}",
        f"user:password@{address}",
        f"{PUBLIC_V4}\\@{address}",
        f"{PUBLIC_V4}%40{address}",
        f"{PUBLIC_V4}%20{address}",
        f"{PUBLIC_V4} {address}",
        f"{PUBLIC_V4}\n{address}",
        f"{address}:80:80",
        f"{address}:0x50",
        f"{address}:",
    ]


SPELLED = tuple(f"http://{form}/" for address in INTERNAL for form in _spellings(address))
ELSEWHERE = (
    "http://localhost/",
    "http://LOCALHOST/",
    "http://localhost./",
    "http://ⓛocalhost/",
    "http://local\u00adhost/",
    "http://anything.localhost/",
    "http://localhost.localdomain/",
    "http://ip6-localhost/",
    "http://metadata/",
    "http://metadata.google.internal/",
    "http://instance-data/",
    "http://[fe80::1%25lo]/",
    "http://[::1",
    "http://::1/",
    "http:///10.9.9.9/",
    "http:10.9.9.9/",
    "//10.9.9.9/",
    "http://10.9.9.9#@1.2.3.4/",
    "http://10.9.9.9?@1.2.3.4/",
    "http://@10.9.9.9/",
    "http://:@10.9.9.9/",
    "ftp://1.2.3.4/",
    "file:///etc/passwd",
    "gopher://1.2.3.4/",
    "dict://1.2.3.4/",
    "unix:///run/redis.sock",
    "javascript:alert(1)",
    "http://1.2.3.4:22/",
    "http://1.2.3.4:5432/",
    "http://1.2.3.4:6379/",
    "http://1.2.3.4:0/",
    "http://1.2.3.4:65536/",
    "http://1.2.3.4:-80/",
    "http://1.2.3.4 :80/",
    "http:// 1.2.3.4/",
    "",
)
URLS = tuple(literal_url(one) for one in ADDRESSES) + SPELLED + ELSEWHERE
