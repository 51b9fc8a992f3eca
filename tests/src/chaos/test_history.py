"""The judge itself: what it has to find, and that it agrees with trying every order."""
from random import Random

from history import ABSENT, Op, contradiction, possible_by_search, stale_by
from points import Mixed, encode, read_point


def w(value, began, ended=None):
    return Op(value, True, began, ended)


def r(value, began, ended):
    return Op(value, False, began, ended)


def check(ops, expected: str | None):
    """What is said of a history; None: it can be. Trying every order has to agree."""
    found = contradiction(ops)
    assert (found is None) == possible_by_search(ops) == (expected is None), f"{found}"
    assert expected is None or expected in found, found


def test_what_can_be_is_let_through():
    check([w(1, 0, 10), r(1, 11, 12), w(2, 13, 20), r(1, 14, 15), r(2, 16, 17), r(2, 21, 22)], None)
    check([w(1, 0, 10), w(2, 11), r(1, 30, 31), r(2, 40, 41)], None)
    check([w(1, 0, 10), w(2, 11), w(3, 12), r(1, 30, 31)], None)
    check([w(1, 0, 10), w(ABSENT, 11, 12), r(ABSENT, 13, 14), w(2, 15, 16), r(2, 17, 18)], None)


def test_lost_write_is_found():
    check([w(1, 0, 10), w(2, 11, 12), r(1, 13, 14)], "there before and after another was written")
    check([w(1, 0, 10), r(ABSENT, 11, 12)], "an acknowledged write is lost")


def test_write_that_was_seen_and_then_lost_is_found():
    check([w(1, 0, 10), w(2, 11), r(2, 12, 13), r(1, 14, 15)], "")


def test_phantom_is_found():
    check([w(1, 0, 10), r(7, 11, 12)], "never written")
    check([w(1, 0, 10), r(2, 11, 12), w(2, 13, 14)], "read before it was written")


def test_stale_strong_read_is_found_and_a_bounded_one_is_not():
    ops = [w(1, 0, 10), w(2, 20, 30)]
    late = r(1, 33, 34)
    check([*ops, late], "there before and after")
    check([*ops, stale_by(late, 5)], None)
    check([*ops, stale_by(late, 2)], "there before and after")


def test_deleted_point_that_comes_back_is_found():
    check([w(1, 0, 10), w(ABSENT, 11, 12), r(1, 13, 14)], "there before and after")
    check([w(1, 0, 10), w(ABSENT, 11), r(ABSENT, 12, 13), r(1, 14, 15)], "")


def test_mixed_vector_and_payload_is_found():
    whole = {"id": 1, "vector": encode(6), "payload": {"value": 6, "vector": 6}}
    assert read_point(whole) == 6
    assert read_point({**whole, "payload": {"value": 9, "vector": 6}}) == 9, "set_payload leaves the vector as it is"
    others = [{"payload": {"value": 8, "vector": 6}}, {"payload": {"value": 8, "vector": 8}}, {"payload": {}}, {"payload": None}, {"payload": {"value": 7, "vector": 7}}]
    for wrong in ({"vector": encode(8)}, {"vector": [1.0, 2.0, 3.0, 4.0]}, {"vector": None}, *others):
        try:
            read_point({**whole, **wrong})
        except Mixed:
            continue
        raise AssertionError(f"let through: {wrong}")


def history(dice: Random) -> list[Op]:
    """A few operations on one register; about half of them as a real register would answer."""
    ops, value, clock = [], None, 0
    for number in range(dice.randint(2, 8)):
        began = clock + dice.randint(0, 3)
        ended = began + dice.randint(1, 8)
        clock = began
        if value is None or dice.random() < 0.5:
            lost = dice.random() < 0.3
            ops.append(w(number + 1, began, None if lost else ended))
            value = number + 1
        else:
            seen = value if dice.random() < 0.6 else dice.randint(1, number + 1)
            ops.append(r(seen, began, ended))
    return ops


def test_zones_agree_with_every_order_on_small_histories():
    dice, good, bad = Random(7), 0, 0
    for _ in range(20_000):
        ops = history(dice)
        expected = possible_by_search(ops)
        assert (contradiction(ops) is None) == expected, "\n".join(map(str, ops))
        good, bad = good + expected, bad + (not expected)
    assert min(good, bad) > 3000, f"{good} possible, {bad} not: too one-sided to say anything"
