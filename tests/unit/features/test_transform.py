"""Ids become the same keys wherever they come from."""

import pytest

from millstream_core.features import PAD, Transform, key_of


@pytest.mark.parametrize(
    ("value", "key"),
    [
        pytest.param(42, 42, id="an integer is its own key"),
        pytest.param("42", 42, id="also when written as text"),
        pytest.param("-42", -42, id="also when negative"),
        pytest.param(2**63 - 1, 2**63 - 1, id="up to the last 64-bit value"),
        pytest.param("0", 0, id="zero is a key"),
    ],
)
def test_integers_are_their_own_keys(value: int | str, key: int) -> None:
    assert key_of(value) == key


@pytest.mark.parametrize("text", ["alice", "007", "4.2", "", "٤٢", "99999999999999999999999", "-"])
def test_other_text_is_hashed_into_64_bits(text: str) -> None:
    assert -(2**63) < key_of(text) < 2**63
    assert key_of(text) == key_of(str(text))


def test_different_texts_get_different_keys() -> None:
    assert len({key_of(f"user-{number}") for number in range(10_000)}) == 10_000


@pytest.mark.parametrize("value", [PAD, 2**63, -(2**63) - 1, str(2**63)])
def test_integers_outside_the_range_are_refused(value: int | str) -> None:
    with pytest.raises(ValueError, match="outside the range"):
        key_of(value)


def test_a_transform_is_named_by_its_content() -> None:
    one = Transform(history_length=50)
    assert one.fingerprint() == Transform(history_length=50).fingerprint()
    assert one.fingerprint() != Transform(history_length=20).fingerprint()
