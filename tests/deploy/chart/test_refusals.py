"""Values that cannot work are refused, with a message that names the key and says what to do."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.chart.helm import CHART, RefusedError, render, template, values_of
from tests.deploy.chart.settings_names import SCHEMA, settable, written


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is set over a variant's values, and the words that the message has."""

    sets: str
    says: tuple[str, ...]
    variant: str = "minimal"


BY_SCHEMA = (
    Refusal("api.replica=3", ("'/api'", "'replica'")),
    Refusal("apis={}", ("'apis'",)),
    Refusal('api.replicas="two"', ("/api/replicas",)),
    Refusal("api.processes=0", ("/api/processes",)),
    Refusal("api.processes=17", ("/api/processes",)),
    Refusal('api.resources={"limits": {"memory": "lots"}}', ("/api/resources/limits/memory",)),
    Refusal('workers.first.lanes=["firts"]', ("/workers/first/lanes/0", "'first'")),
    Refusal("workers.first.processes=16", ("/workers/first/processes",)),
    Refusal('workers.first.autoscaling={"kind": "celery"}', ("/workers/first/autoscaling/kind", "'keda'")),
    Refusal('workers.first.autoscaling={"minReplicas": 0}', ("/workers/first/autoscaling/minReplicas",)),
    Refusal('workers.Deliver={"lanes": []}', ("Deliver",)),
    Refusal('image.digest="sha256:abc"', ("/image/digest",)),
    Refusal('image.pullPolicy="Sometimes"', ("/image/pullPolicy", "'Always'")),
    Refusal("config.POSTRIDER_EGRESS__HTTPS_ONLY=true", ("/config/POSTRIDER_EGRESS__HTTPS_ONLY", "string")),
    Refusal('config.postrider_environment="test"', ("postrider_environment",)),
    Refusal('config.POSTRIDER_HTTP__TRUSTED_PROXY="10.0.0.0/8"', ("POSTRIDER_HTTP__TRUSTED_PROXY",)),
    Refusal('config.POSTRIDER_TELEMETRY__PORT="9000"', ("POSTRIDER_TELEMETRY__PORT",)),
    Refusal('config.POSTRIDER_DELIVERY__LANES="first"', ("POSTRIDER_DELIVERY__LANES",)),
    Refusal('config.OTEL_EXPORTER_OTLP_HEADERS="key=secret"', ("OTEL_EXPORTER_OTLP_HEADERS",)),
    Refusal('config.POSTRIDER_ENVIRONMENT="prod"', ("/config/POSTRIDER_ENVIRONMENT", "'production'")),
    Refusal('config.POSTRIDER_PUBLIC_URL="hooks.example.com"', ("/config/POSTRIDER_PUBLIC_URL",)),
    Refusal('config.POSTRIDER_REDIS__URL="redis://:secret@redis"', ("POSTRIDER_REDIS__URL",)),
    Refusal('config.POSTRIDER_SECRETS__KEYS="{}"', ("POSTRIDER_SECRETS__KEYS",)),
    Refusal('migrations.hook="presync"', ("/migrations/hook", "'argocd'")),
    Refusal('rollouts.mode="rolling"', ("/rollouts/mode", "'blueGreen'")),
    Refusal('rollouts.api={"steps": [{"weight": 0}]}', ("/rollouts/api/steps/0/weight",)),
    Refusal('rollouts.api={"steps": [{"weight": 5, "pause": "soon"}]}', ("/rollouts/api/steps/0/pause",)),
    Refusal("rollouts.analysis.successRate=99", ("/rollouts/analysis/successRate",)),
    Refusal('gateway.hostnames=["https://hooks.example.com"]', ("/gateway/hostnames/0",)),
    Refusal('gateway.nginx.rateLimit.rate="100/s"', ("/gateway/nginx/rateLimit/rate",)),
    Refusal('networkPolicy.database.to=["10.0.0.1"]', ("/networkPolicy/database/to/0",)),
    Refusal('probe.receiverIP="receiver"', ("/probe/receiverIP",)),
    Refusal('database.maxConnections="many"', ("/database/maxConnections",)),
)

BY_TEMPLATE = (
    Refusal('secrets.existingSecret=""', ("secrets.existingSecret", "secrets.external.enabled", "not 0")),
    Refusal("secrets.external.enabled=true", ("set one of", "not 2")),
    Refusal(
        'secrets={"existingSecret": "", "inline": {"POSTRIDER_REDIS__URL": "redis://redis"}}',
        ("secrets.inline", "config.POSTRIDER_ENVIRONMENT"),
    ),
    Refusal("gateway.enabled=true", ("gateway.hostnames", '"hooks.example.com"')),
    Refusal(
        'config.POSTRIDER_HTTP__TRUSTED_PROXIES=""',
        ("config.POSTRIDER_HTTP__TRUSTED_PROXIES", "gateway.enabled"),
        "full",
    ),
    Refusal("gateway.hsts.includeSubDomains=false", ("gateway.hsts.preload", "includeSubDomains"), "full"),
    Refusal("gateway.hsts.maxAge=300", ("gateway.hsts.preload", "31536000"), "full"),
    Refusal('ingress={"enabled": true}', ("ingress.enabled", "gateway.enabled"), "full"),
    Refusal("rollouts.enabled=true", ("ingress.enabled", "rollouts.mode", "blueGreen"), "ingress"),
    Refusal('ingress.tlsSecret=""', ("ingress.tlsSecret",), "ingress"),
    Refusal('workers.first.lanes=["first", "retry"]', ("workers:", '"replay"')),
    Refusal("workers.retry.enabled=false", ("workers:", '"retry"'), "full"),
    Refusal("workers.maintenance.enabled=false", ("workers:", "maintenance"), "full"),
    Refusal('workers.first.autoscaling={"minReplicas": 9}', ("workers.first.autoscaling.minReplicas",), "full"),
    Refusal(
        'workers.retry.autoscaling={"fallbackReplicas": 9}', ("workers.retry.autoscaling.fallbackReplicas",), "full"
    ),
    Refusal(
        'workers.maintenance.autoscaling={"kind": "keda"}', ("workers.maintenance.autoscaling.kind", "hpa"), "full"
    ),
    Refusal("api.autoscaling.minReplicas=9", ("api.autoscaling.minReplicas",), "full"),
    Refusal("workers.first.graceSeconds=30", ("workers.first.graceSeconds", "POSTRIDER_DELIVERY__DRAIN_SECONDS")),
    Refusal('config.POSTRIDER_DELIVERY__DRAIN_SECONDS="60"', ("workers.first.graceSeconds", "60 seconds")),
    Refusal("api.podDisruptionBudget.minAvailable=1", ("api.podDisruptionBudget.minAvailable", "no node")),
    Refusal(
        'workers.first.podDisruptionBudget={"minAvailable": 1}', ("workers.first.podDisruptionBudget.minAvailable",)
    ),
    Refusal('migrations.hook="helm"', ("migrations.hook", "secrets.existingSecret"), "full"),
    Refusal("probe.enabled=true", ("probe.receiverIP",)),
    Refusal('config.POSTRIDER_EGRESS__HTTPS_ONLY="true"', ("probe.enabled", "POSTRIDER_EGRESS__HTTPS_ONLY"), "full"),
    Refusal("database.maxConnections=100", ("database.maxConnections", "api 216", "maxReplicas"), "full"),
)


@pytest.mark.parametrize("refusal", [*BY_SCHEMA, *BY_TEMPLATE], ids=lambda one: one.sets[:60])
def test_values_that_cannot_work_are_refused_by_name(refusal: Refusal) -> None:
    with pytest.raises(RefusedError) as refused:
        template(values_of(refusal.variant), sets=[refusal.sets])
    assert [word for word in refusal.says if word not in str(refused.value)] == []


def test_the_schema_lets_nothing_unknown_in_anywhere() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    free = {"podSelector", "namespaceSelector", "affinity", "behavior", "global", "items"}
    loose = [
        path
        for path, one in _objects(schema, "")
        if one.get("type") == "object" and "additionalProperties" not in one and path.rsplit("/", 1)[-1] not in free
    ]
    assert loose == []


def test_config_may_name_every_setting_and_nothing_else() -> None:
    schema = SCHEMA.read_text()
    assert schema == written(schema), "write it anew with `python -m tests.deploy.chart.settings_names`"
    assert "POSTRIDER_LIMITS__INGEST__KEY" in settable()
    assert [name for name in settable() if "URL" in name and name != "POSTRIDER_PUBLIC_URL"] == []


def test_plain_secrets_of_a_developer_must_be_whole(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(
        "secrets: {existingSecret: '', inline: {POSTRIDER_REDIS__URL: 'redis://redis'}}\n"
        "config: {POSTRIDER_ENVIRONMENT: development}\n"
    )
    with pytest.raises(RefusedError, match=r"secrets\.inline: it lacks POSTRIDER_DATABASE__URL, .*MIGRATOR_URL"):
        render(values_of("minimal"), file)


def test_the_budget_of_connections_counts_every_process() -> None:
    # One process of the API has 8 + 1, one of the workers 6, their main process 1; a surge adds a pod to each, 6 are
    # for operators and 20 reserved: 2 * 9 + 2 * 7 + 26.
    render(values_of("minimal"), sets=["database.maxConnections=58"])
    with pytest.raises(RefusedError, match="57 are too few, up to 58 may be asked for"):
        render(values_of("minimal"), sets=["database.maxConnections=57"])


def test_the_budget_of_a_canary_counts_the_stable_version_whole() -> None:
    canary = ["workers.first.replicas=1", "database.maxConnections=1"]
    with pytest.raises(RefusedError, match=r"api 108,"):
        render(values_of("full"), sets=[*canary, "api.autoscaling.maxReplicas=3"])


def _objects(node: object, path: str) -> list[tuple[str, dict[str, object]]]:
    if isinstance(node, list):
        return [found for one in node for found in _objects(one, path)]
    if not isinstance(node, dict):
        return []
    below = [found for name, one in node.items() for found in _objects(one, f"{path}/{name}")]
    return [(path, node), *below]
