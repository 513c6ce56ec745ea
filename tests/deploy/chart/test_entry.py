"""How callers come in, and where pods may go."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from app.domain import addresses
from tests.deploy.chart.helm import Key, Manifest, by_key, of_kind, pod_templates, render, values_of

HSTS = "max-age=31536000; includeSubDomains; preload"
POOLS = ("first", "retry", "bulk", "maintenance")
PRIVATE = (
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "127.0.0.1",
    "fd00:ec2::254",
    "fe80::1",
)


@pytest.fixture(scope="module")
def full() -> dict[Key, Manifest]:
    return by_key(render(values_of("full")))


def test_hsts_is_set_on_every_rule_over_tls_and_on_none_without(full: dict[Key, Manifest]) -> None:
    for rule in full[Key("HTTPRoute", "postrider")]["spec"]["rules"]:
        headers = [one["responseHeaderModifier"] for one in rule["filters"] if one["type"] == "ResponseHeaderModifier"]
        assert headers == [{"set": [{"name": "Strict-Transport-Security", "value": HSTS}]}]
    assert "Strict-Transport-Security" not in str(full[Key("HTTPRoute", "postrider-plain")])


def test_what_nginx_answers_by_itself_has_hsts_over_tls_alone(full: dict[Key, Manifest]) -> None:
    over_tls, plain = (_snippet(full, name, "http.server") for name in ("postrider", "postrider-plain"))
    # Each page of an error says it, and so does the server for what has no page.
    assert over_tls.count("location @postrider_") + 1 == over_tls.count(f'Strict-Transport-Security "{HSTS}" always;')
    assert "Strict-Transport-Security" not in plain
    assert plain.count("location @postrider_") == over_tls.count("location @postrider_") > 0


def test_without_tls_pages_are_sent_on_and_the_api_refuses_by_itself(full: dict[Key, Manifest]) -> None:
    to_api, pages = full[Key("HTTPRoute", "postrider-plain")]["spec"]["rules"]
    assert {one["path"]["value"] for one in to_api["matches"]} == {"/", "/api"}
    assert to_api["backendRefs"]
    assert {one["method"] for one in pages["matches"]} == {"GET", "HEAD"}
    assert pages["filters"] == [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}]


def test_each_route_hangs_on_its_own_listener(full: dict[Key, Manifest]) -> None:
    parents = {name: full[Key("HTTPRoute", name)]["spec"]["parentRefs"] for name in ("postrider", "postrider-plain")}
    assert parents == {
        "postrider": [{"name": "postrider", "namespace": "postrider", "sectionName": "https"}],
        "postrider-plain": [{"name": "postrider", "namespace": "postrider", "sectionName": "http"}],
    }


def test_size_time_and_rate_are_bound_on_both_routes(full: dict[Key, Manifest]) -> None:
    for route in ("postrider", "postrider-plain"):
        client = full[Key("ClientSettingsPolicy", route)]["spec"]
        assert client["targetRef"]["name"] == route
        assert client["body"] == {"maxSize": "2m", "timeout": "10s"}
    # NGINX reads a head before it knows for which server.
    assert "client_header_timeout 10s;" in _snippet(full, "postrider", "http")
    rate = full[Key("RateLimitPolicy", "postrider")]["spec"]
    assert [one["name"] for one in rate["targetRefs"]] == ["postrider", "postrider-plain"]
    assert rate["rateLimit"]["rejectCode"] == 429


def test_the_fallback_is_an_ingress_with_hsts_once_that_leaves_plain_requests_to_the_api() -> None:
    ingress = by_key(render(values_of("ingress")))[Key("Ingress", "postrider")]
    said = ingress["metadata"]["annotations"]
    assert said["nginx.org/hsts"] == "true"
    assert said["nginx.org/hsts-max-age"] == "31536000"
    # The API's own would be the second.
    assert said["nginx.org/proxy-hide-headers"] == "Strict-Transport-Security"
    assert said["ingress.kubernetes.io/ssl-redirect"] == "false"
    assert ingress["spec"]["tls"] == [{"hosts": ["hooks.example.com"], "secretName": "hooks-tls"}]


def test_nothing_enters_or_leaves_a_pod_that_no_rule_lets(full: dict[Key, Manifest]) -> None:
    everything = full[Key("NetworkPolicy", "postrider")]["spec"]
    assert everything["policyTypes"] == ["Ingress", "Egress"]
    for name, pod in pod_templates(list(full.values())).items():
        assert _selects(everything, pod), name


@pytest.mark.parametrize("address", PRIVATE)
def test_workers_reach_the_internet_and_no_private_network(full: dict[Key, Manifest], address: str) -> None:
    pod = pod_templates(list(full.values()))["postrider-worker-first"]
    assert _may_go(full, pod, "93.184.216.34", 443)
    assert _may_go(full, pod, "2606:2800:220:1::1", 443)
    assert not _may_go(full, pod, address, 443)
    assert not _may_go(full, pod, address, 8080)


def test_what_the_product_calls_private_no_policy_lets_out(full: dict[Key, Manifest]) -> None:
    pod = pod_templates(list(full.values()))["postrider-worker-first"]
    denied: list[addresses.Network] = [*addresses._DENIED_V4, *addresses._DENIED_V6]
    private = [str(end) for network in denied for end in (network[0], network[-1])]
    assert [one for one in private if _may_go(full, pod, one, 443)] == []


def test_the_database_and_redis_are_reached_where_they_are(full: dict[Key, Manifest]) -> None:
    for name, pod in pod_templates(list(full.values())).items():
        assert _may_go(full, pod, "10.20.0.10", 5432), name
        assert _may_go(full, pod, "10.20.0.11", 6380), name
        assert not _may_go(full, pod, "10.20.0.12", 5432), name


def test_the_api_and_workers_reach_the_proxy_that_requests_leave_through(full: dict[Key, Manifest]) -> None:
    pods = pod_templates(list(full.values()))
    asks = {name for name, pod in pods.items() if _may_go(full, pod, "10.20.0.13", 3128)}
    told = {
        name
        for name, pod in pods.items()
        if "POSTRIDER_EGRESS__PROXY" in {each["name"] for each in pod["spec"]["containers"][0].get("env", [])}
    }
    assert asks == told == {"postrider-api", *(f"postrider-worker-{pool}" for pool in POOLS)}
    nowhere = by_key(render(values_of("full"), sets=["networkPolicy.proxy.to=null"]))
    assert not _may_go(nowhere, pods["postrider-api"], "10.20.0.13", 3128)


def test_beat_and_the_operators_jobs_call_nobody_on_the_internet_but_sentry(full: dict[Key, Manifest]) -> None:
    pods = pod_templates(list(full.values()))
    assert not _may_go(full, pods["postrider-beat"], "93.184.216.34", 80)
    assert not _may_go(full, pods["postrider-migrations"], "93.184.216.34", 443)


def test_only_the_gateway_and_the_probe_call_the_api(full: dict[Key, Manifest]) -> None:
    (rule,) = full[Key("NetworkPolicy", "postrider-api")]["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8000}]
    assert [next(iter(one.values()))["matchLabels"] for one in rule["from"]] == [
        {"kubernetes.io/metadata.name": "nginx-gateway"},
        {
            "app.kubernetes.io/name": "postrider",
            "app.kubernetes.io/instance": "postrider",
            "app.kubernetes.io/component": "probe",
        },
    ]


def test_workers_may_call_the_probes_receiver_at_its_exact_address(full: dict[Key, Manifest]) -> None:
    service = full[Key("Service", "postrider-receiver")]["spec"]
    (config,) = (one for one in full.values() if one["kind"] == "ConfigMap" and "-config-" in one["metadata"]["name"])
    assert config["data"]["POSTRIDER_EGRESS__PROBE"] == f"{service['clusterIP']}:{service['ports'][0]['port']}"
    receiver = {"podSelector": {"matchLabels": service["selector"]}}
    for pool in POOLS:
        egress = full[Key("NetworkPolicy", f"postrider-worker-{pool}")]["spec"]["egress"]
        assert {"to": [receiver], "ports": [{"protocol": "TCP", "port": 8080}]} in egress


def test_without_policies_there_are_none() -> None:
    assert of_kind(render(values_of("full"), sets=["networkPolicy.enabled=false"]), "NetworkPolicy") == []


def _snippet(manifests: dict[Key, Manifest], name: str, context: str) -> str:
    (found,) = (
        one["value"] for one in manifests[Key("SnippetsFilter", name)]["spec"]["snippets"] if one["context"] == context
    )
    return str(found)


def _selects(policy: Manifest, pod: Manifest) -> bool:
    wanted = policy["podSelector"].get("matchLabels", {})
    return bool(wanted.items() <= pod["metadata"]["labels"].items())


def _may_go(manifests: dict[Key, Manifest], pod: Manifest, address: str, port: int) -> bool:
    """What a cluster that enforces the policies would say of a connection."""
    policies = [one["spec"] for one in manifests.values() if one["kind"] == "NetworkPolicy"]
    rules = [rule for one in policies if _selects(one, pod) for rule in one.get("egress") or []]
    return any(_lets(rule, address, port) for rule in rules)


def _lets(rule: Manifest, address: str, port: int) -> bool:
    if all(one["port"] != port for one in rule["ports"]):
        return False
    return "to" not in rule or any(_covers(one["ipBlock"], address) for one in rule["to"] if "ipBlock" in one)


def _covers(block: dict[str, Any], address: str) -> bool:
    networks = [ip_network(one) for one in (block["cidr"], *block.get("except", []))]
    inside = [ip_address(address) in one for one in networks]
    return inside[0] and not any(inside[1:])
