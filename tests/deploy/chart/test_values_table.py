"""What the README says of the values is what they are."""

from tests.deploy.chart.values_table import README, values, written


def test_the_table_of_values_is_that_of_the_values() -> None:
    assert README.read_text() == written(README.read_text()), "python -m tests.deploy.chart.values_table"


def test_of_every_value_something_is_said() -> None:
    assert [one.path for one in values() if not one.says] == []
    assert len(values()) > 100
