"""What Postrider owes those who rely on it, as data; rules, alerts and dashboards are made from it."""

from dataclasses import dataclass

DAYS = 30
WINDOWS = ("30m", "1h", "2h", "6h", "1d", "3d")
"""What errors are looked at over, beside the five minutes that all of these are made of."""


@dataclass(frozen=True, slots=True)
class Objective:
    """`goal` of all events are good, over thirty days.

    `every` and `bad` are events a second over the last five minutes, in PromQL. What breaks it wakes somebody only if
    `wakes`; `alert` names what is told then. Where nothing may be bad there is no budget to burn, and the alert is one
    of the catalogue.
    """

    name: str
    goal: float
    promise: str
    every: str
    bad: str
    alert: str
    owner: str
    dashboard: str
    summary: str = ""
    impact: str = ""
    wakes: bool = True

    @property
    def budget(self) -> float:
        """The share of events that may be bad."""
        return round(1 - self.goal, 9)


@dataclass(frozen=True, slots=True)
class Burn:
    """Errors that come `factor` times as fast as would use the budget up in thirty days, over both windows.

    Where nobody is woken the errors must have been looked at for `seen` at least, which is half of the long window.
    """

    factor: float
    long: str
    short: str
    seen: str = ""

    @property
    def wakes(self) -> bool:
        """Whether somebody is woken, by what was seen so far."""
        return not self.seen


BURNS = (
    Burn(14.4, "1h", "5m"),
    Burn(6, "6h", "30m"),
    Burn(3, "1d", "2h", seen="12h"),
    Burn(1, "3d", "6h", seen="36h"),
)


def _rate(metric: str, labels: str = "") -> str:
    return f"sum(rate({metric}{{{labels}}}[5m]))" if labels else f"sum(rate({metric}[5m]))"


def _slower_than(seconds: str, histogram: str, labels: str = "") -> str:
    within = ",".join(filter(None, (labels, f'le="{seconds}"')))
    return f"{_rate(f'{histogram}_count', labels)} - {_rate(f'{histogram}_bucket', within)}"


def lost(window: str) -> str:
    """Deliveries found to be lost, in PromQL.

    Another process may take the counting over and begin with what it finds, which is no increase of anything.
    """
    counted = "postrider_lost_deliveries_total"
    return (
        f"sum((max_over_time({counted}[{window}]) unless {counted} offset {window}) or increase({counted}[{window}]))"
    )


OBJECTIVES = (
    Objective(
        name="availability",
        goal=0.999,
        promise="A request to the API is answered, and not by 5xx.",
        every=_rate("postrider_http_requests_total"),
        bad=_rate("postrider_http_requests_total", 'status=~"5.+"'),
        alert="ApiFails",
        owner="api",
        dashboard="postrider-overview",
        summary="of the API's requests failed (5xx)",
        impact="Callers get errors: events are not accepted, and people cannot use their pages.",
    ),
    Objective(
        name="acceptance",
        goal=0.99,
        promise="A message is durable 250 ms after it was let in.",
        every=_rate("postrider_accept_seconds_count"),
        bad=_slower_than("0.25", "postrider_accept_seconds"),
        alert="AcceptanceSlow",
        owner="api",
        dashboard="postrider-overview",
        summary="of messages took more than 250 ms to become durable",
        impact="Those who send events wait for the answer, and give up in the end.",
    ),
    Objective(
        name="delivery",
        goal=0.99,
        promise="An endpoint that takes a message at the first try, and holds none back, has it within 5 s.",
        every=_rate("postrider_delivery_seconds_count", 'tries="first"'),
        bad=_slower_than("5.0", "postrider_delivery_seconds", 'tries="first"'),
        alert="DeliverySlow",
        owner="delivery",
        dashboard="postrider-delivery",
        summary="of first tries reached a healthy endpoint later than 5 s after the message was accepted",
        impact="Endpoints that are well get their events late.",
    ),
    Objective(
        name="freshness",
        goal=0.99,
        promise="A new delivery is claimed 500 ms after it is due.",
        every=_rate("postrider_pickup_seconds_count", 'lane="first"'),
        bad=_slower_than("0.5", "postrider_pickup_seconds", 'lane="first"'),
        alert="WakeUpsStale",
        owner="delivery",
        dashboard="postrider-workers",
        summary="of new deliveries were claimed later than 500 ms after they were due",
        impact="Events arrive up to a second later than they could: workers find work by looking, not by being called.",
        wakes=False,
    ),
    Objective(
        name="loss",
        goal=1.0,
        promise="What was accepted is delivered, or its end is written down.",
        every=_rate("postrider_messages_total", 'outcome="accepted"'),
        bad=f"{lost('5m')} / 300",
        alert="DeliveriesLost",
        owner="delivery",
        dashboard="postrider-delivery",
    ),
)
