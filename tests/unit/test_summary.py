"""/metrics/summary: the documented numbers out of an exposition, by the contract's lanes."""

from app.api.metrics_endpoint import summarise
from app.observability.contract import contract

EXPOSITION = """\
# TYPE lane_classification_total counter
lane_classification_total{job="healthcare-backend",lane="price"} 3
lane_classification_total{job="another-backend",lane="price"} 1
lane_classification_total{job="healthcare-backend",lane="urgent"} 2
"""


def test_every_lane_of_the_contract_is_told_and_0_until_it_is_counted() -> None:
    lanes = contract().lanes
    assert summarise("", lanes)["lanes"] == dict.fromkeys(lanes, 0)
    assert summarise(EXPOSITION, [*lanes, "urgent"])["lanes"] == dict.fromkeys(lanes, 0) | {"price": 4, "urgent": 2}
