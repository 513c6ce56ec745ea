"""Customers of the running system; each test has an organisation of its own."""

import pytest

from tests.e2e.customer import Caller, Customer
from tests.system import System


@pytest.fixture
def customer(system: System) -> Customer:
    """A fresh organisation with one application."""
    return Customer(Caller(system.url, system.new_tenant().key))


@pytest.fixture
def stranger(system: System) -> Customer:
    """Another one."""
    return Customer(Caller(system.url, system.new_tenant().key))
