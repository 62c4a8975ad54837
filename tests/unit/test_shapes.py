"""What has a shape instead of a closed set: no number that belongs to a person has it, however it is written."""

import pytest

from app.observability.contract import contract

IDS = ["3EB0C767D26A1B2C3D4E", "3A1234567B1234567C", "3eb0c767-d26a-1b2c", "AC-1234567-F", "0123456A-1234567"]
NUMBERS = ["5511987340621", "98734-0621", "9-8-7-3-4-0-6-2-1", "1931-07-29", "29-07-1931", "864-209-157-41"]


@pytest.mark.parametrize("message_id", IDS)
def test_an_id_of_a_message_is_kept(message_id: str) -> None:
    assert contract().span["message_id"](message_id) == message_id


@pytest.mark.parametrize("number", [*NUMBERS, "3EB0-1931-07-29"])
def test_a_number_with_dashes_is_no_id_of_a_message(number: str) -> None:
    assert contract().span["message_id"](number) == "other"
