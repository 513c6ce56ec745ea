"""An HTTP proxy that all requests leave through."""

from base64 import b64encode
from ipaddress import ip_address

from yarl import URL


class Proxy:
    """`http://[user:password@]host:port`. Raises ValueError for anything else."""

    def __init__(self, url: str) -> None:
        parsed = URL(url)
        if parsed.scheme != "http" or not parsed.host or parsed.port is None or parsed.path not in {"", "/"}:
            msg = "an egress proxy is http://[user:password@]host:port"
            raise ValueError(msg)
        self.url = parsed.with_user(None).origin()
        self.host: str = parsed.host
        self.port: int = parsed.port
        self.headers = _credentials(parsed)


def literal(host: str) -> tuple[str, ...] | None:
    """The address that `host` spells, None for a name."""
    try:
        return (str(ip_address(host)),)
    except ValueError:
        return None


def tunnel(url: URL, addresses: tuple[str, ...]) -> URL:
    """`url` with one of its host's addresses in the host's place, IPv4 where there is one."""
    chosen = next((address for address in addresses if ":" not in address), addresses[0])
    return url.with_host(chosen)


def _credentials(url: URL) -> dict[str, str]:
    if url.user is None:
        return {}
    pair = f"{url.user}:{url.password or ''}".encode()
    return {"Proxy-Authorization": f"Basic {b64encode(pair).decode()}"}
