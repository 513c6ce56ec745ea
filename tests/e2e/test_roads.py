"""The roads by which deliveries leave, as an operator and a customer set them."""

import ssl
from collections.abc import Iterator

import pytest
import trustme

from app.cli.dev.roles import DatabaseUrls
from tests.e2e.customer import Caller, Customer
from tests.receiver import Receiver
from tests.servers import Servers, process_environment
from tests.system import System, running_system

SOURCE = "127.0.0.77"


def test_an_authority_of_an_endpoints_own_is_trusted_for_it_alone(customer: Customer) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Receiver(tls=context) as peer:
        trusting, wary = peer.path(), peer.path()
        pem = authority.cert_pem.bytes().decode()
        endpoint = customer.endpoint(f"{peer.base}{trusting}", caPem=pem)
        assert customer.state(endpoint)["caPem"] == pem
        customer.endpoint(f"{peer.base}{wary}", retrySchedule=[0])
        message = customer.send()
        peer.wait(trusting)
        by_url = {one["url"]: one for one in customer.wait_for_attempts(message, 2)}
    assert by_url[f"{peer.base}{trusting}"]["responseStatusCode"] == 204
    refused = by_url[f"{peer.base}{wary}"]
    assert (refused["responseStatusCode"], peer.at(wary)) == (0, [])
    assert refused["response"].startswith("tls")


@pytest.fixture
def behind_proxy(servers: Servers, database: DatabaseUrls, receiver: Receiver) -> Iterator[System]:
    """An installation whose deliveries leave through a proxy, from a fixed address."""
    environment = process_environment(database, servers.own_redis_url()) | {
        "POSTRIDER_EGRESS__PROXY": receiver.base,
        "POSTRIDER_EGRESS__SOURCE_ADDRESS": SOURCE,
    }
    with running_system(environment, api=1, workers=1) as started:
        yield started


@pytest.mark.timeout(180)
def test_deliveries_leave_through_the_proxy_from_the_source_address(behind_proxy: System, receiver: Receiver) -> None:
    customer = Customer(Caller(behind_proxy.url, behind_proxy.new_tenant().key))
    # Nobody listens there: what arrives came to the proxy, which was asked for the whole URL.
    url = "http://127.0.0.1:9/hook"
    endpoint = customer.endpoint(url)
    message = customer.send()
    (seen,) = receiver.wait(url)
    assert (seen.id, seen.caller, seen.headers["host"]) == (message, SOURCE, "127.0.0.1:9")
    assert customer.wait_for_attempts(message, 1)[0]["responseStatusCode"] == 204
    assert customer.destination(message, endpoint)["status"] == 0
