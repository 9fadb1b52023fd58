"""Resources: one for each key, in the order in which they stand on each other."""

from typing import Any

import pytest

from rpcservice import Resource
from rpcservice.concurrency import green
from rpcservice.config import make_settings
from rpcservice.core.resource import Resources


@pytest.fixture
def resources() -> Resources:
    return Resources(make_settings({}), green())


@pytest.fixture
def noting(journal: list[str]) -> type[Any]:
    class Noting(Resource):
        broken = ""

        def start(self) -> None:
            journal.append(f"start {self.key}")

        def stop(self) -> None:
            journal.append(f"stop {self.key}")
            if self.broken:
                raise RuntimeError(f"{self.key} is {self.broken}")

        def kill(self) -> None:
            journal.append(f"kill {self.key}")

        def health(self) -> str | None:
            return f"{self.key} is {self.broken}" if self.broken else None

    return Noting


def test_one_is_made_for_each_key(resources: Resources, noting: type[Any]) -> None:
    one = resources.get(noting, "a")
    assert resources.get(noting, "a") is one
    assert resources.get(noting, "b") is not one
    assert (one.key, one.config, one.backend) == ("a", resources.config, green())


def test_what_one_stands_on_starts_before_it_and_stops_after_it(
    resources: Resources, noting: type[Any], journal: list[str]
) -> None:
    class Upper(noting):  # type: ignore[misc]
        def setup(self) -> None:
            self.resources.get(noting, "lower")

    resources.get(Upper, "upper")
    resources.start()
    resources.stop()
    assert journal == ["start lower", "start upper", "stop upper", "stop lower"]


def test_early_ones_start_before_all_others(resources: Resources, noting: type[Any], journal: list[str]) -> None:
    class Early(noting):  # type: ignore[misc]
        starts_early = True

    resources.get(noting, "late")
    resources.get(Early, "early")
    resources.start()
    assert journal == ["start early", "start late"]


def test_an_error_in_one_does_not_keep_the_others_running(
    resources: Resources, noting: type[Any], journal: list[str]
) -> None:
    resources.get(noting, "a")
    resources.get(noting, "b").broken = "broken"
    with pytest.raises(RuntimeError, match="b is broken"):
        resources.stop()
    assert journal == ["stop b", "stop a"]


def test_they_end_once(resources: Resources, noting: type[Any], journal: list[str]) -> None:
    resources.get(noting, "a")
    resources.stop()
    resources.stop()
    resources.kill()
    assert journal == ["stop a"]


def test_health_is_one_line_for_each_that_is_not_well(resources: Resources, noting: type[Any]) -> None:
    resources.get(noting, "a")
    resources.get(noting, "b").broken = "broken"
    assert resources.health() == ["b is broken"]


def test_a_resource_that_does_nothing_is_well(resources: Resources) -> None:
    resources.get(Resource)
    resources.start()
    resources.serve()
    resources.kill()
    assert resources.health() == []
    assert len(list(resources)) == 1


def test_what_a_setting_asks_for_is_made(noting: type[Any]) -> None:
    resources = Resources(make_settings({"health_address": "127.0.0.1:0"}), green())
    resources.add_wanted()
    assert [type(resource).__name__ for resource in resources] == ["Process", "HealthServer"]
