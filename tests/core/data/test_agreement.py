"""Agreement against published examples and by hand."""

from __future__ import annotations

import random

import pytest

from core.data.agreement import agreement


def _table(rows):
    """(coder, item, label) of a table of two coders: how often the first said i and the second j."""
    item = 0
    for i, row in enumerate(rows):
        for j, count in enumerate(row):
            for _ in range(count):
                yield "first", item, i
                yield "second", item, j
                item += 1


def _counts(rows):
    """(coder, item, label) of a table that has, an item a row, how many coders gave each label."""
    for item, row in enumerate(rows):
        coder = 0
        for label, count in enumerate(row):
            for _ in range(count):
                yield coder, item, label
                coder += 1


# Fleiss, Cohen and Everitt (1969), 200 patients: .53 .05 .02 / .11 .14 .05 / .01 .06 .03.
FLEISS_COHEN_EVERITT = [[106, 10, 4], [22, 28, 10], [2, 12, 6]]

# Fleiss (1971), table 1: 30 patients, six psychiatrists, five diagnoses, each row sorted.
FLEISS = """444444 222555 233335 555555 222444 113333 333355 113334 114444 555555 144444 124444 222333 144444 224445
333335 111455 111112 224444 133555 555555 244444 224555 114444 144445 222224 111155 224444 133333 555555"""


def test_cohens_kappa_of_two_psychiatrists() -> None:
    found = agreement(_table(FLEISS_COHEN_EVERITT))
    assert (found.kind, found.items, found.coders, found.reason) == ("Cohen", 200, 2, "")
    assert found.observed == pytest.approx(0.70)
    # Expected by chance: .60 * .65 + .30 * .25 + .10 * .10 = .475.
    assert found.kappa == pytest.approx((0.70 - 0.475) / (1 - 0.475))


def test_cohens_kappa_of_a_table_of_two_by_two() -> None:
    # By hand: observed 35/50, chance .5 * .6 + .5 * .4 = .5, kappa .2 / .5.
    found = agreement(_table([[20, 5], [10, 15]]))
    assert found.kappa == pytest.approx(0.4)
    assert found.observed == pytest.approx(0.7)


def test_fleiss_kappa_of_six_psychiatrists() -> None:
    found = agreement(
        (coder, item, label) for item, row in enumerate(FLEISS.split()) for coder, label in enumerate(row)
    )
    assert (found.kind, found.items, found.coders) == ("Fleiss", 30, 6)
    assert found.observed == pytest.approx(0.5556, abs=5e-5)
    assert found.kappa == pytest.approx(0.430, abs=5e-4)


def test_fleiss_kappa_of_fourteen() -> None:
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    found = agreement(_counts(table))
    assert found.kappa == pytest.approx(0.20993, abs=5e-6)
    assert found.observed == pytest.approx(0.378, abs=5e-4)


def test_worse_than_chance_is_below_zero() -> None:
    assert agreement(_table([[0, 5], [5, 0]])).kappa == pytest.approx(-1)


def test_the_order_of_the_labels_does_not_matter() -> None:
    labels = list(_table(FLEISS_COHEN_EVERITT))
    shuffled = random.Random(1).sample(labels, len(labels))
    assert agreement(shuffled).kappa == pytest.approx(agreement(labels).kappa)


def test_one_label_everywhere_has_no_kappa() -> None:
    found = agreement(_table([[9]]))
    assert found.kappa is None
    assert found.observed == 1.0
    assert "chance alone would agree as well" in found.reason


@pytest.mark.parametrize(
    ("labels", "reason", "items"),
    [
        ([], "nothing was judged by two", 0),
        ([("a", 1, "x"), ("b", 2, "x"), ("a", 2, "x"), ("b", 1, "x")][:2], "nothing was judged by two", 0),
        ([("a", 1, "x"), ("b", 1, "y"), ("a", 2, "x")], "only one item was judged by two", 1),
    ],
)
def test_too_few_say_why(labels, reason, items) -> None:
    found = agreement(labels)
    assert (found.kappa, found.reason, found.items) == (None, reason, items)


def test_where_not_everybody_judged_everything_the_pairs_are_averaged() -> None:
    first = list(_table([[20, 5], [10, 15]]))  # first and second: 0.4
    third = [("third", item, label) for coder, item, label in first if coder == "first" and item % 2]
    found = agreement(first + third)
    of_second = agreement([entry for entry in first + third if entry[0] != "first"])
    assert found.kind == "mean pairwise Cohen"
    assert found.coders == 3
    assert found.items == 50
    # The third says what the first says: 1 between them.
    assert found.kappa == pytest.approx((0.4 + 1 + of_second.kappa) / 3)
    assert found.reason == "not everybody judged everything: mean over 3 pairs of coders"


def test_pairs_without_a_kappa_of_their_own_are_left_out_and_said() -> None:
    labels = [*_table([[20, 5], [10, 15]]), ("third", 0, 0)]
    found = agreement(labels)
    assert found.kappa == pytest.approx(0.4)
    assert found.reason.endswith("mean over 1 pair of coders, 2 left out (one item shared, or every label the same)")
    alone = agreement([("a", 1, 0), ("b", 1, 0), ("b", 2, 0), ("c", 2, 0), ("c", 3, 1), ("a", 3, 1)])
    assert alone.kappa is None
    assert alone.observed == 1.0
    assert alone.reason.startswith("no two coders have a kappa of their own")


def test_items_of_one_coder_say_nothing() -> None:
    labels = list(_table([[20, 5], [10, 15]]))
    found = agreement([*labels, ("first", "alone", 0), ("fourth", "apart", 1)])
    assert (found.kind, found.items, found.coders) == ("Cohen", 50, 2)
    assert found.kappa == pytest.approx(0.4)


def test_the_last_label_counts() -> None:
    labels = list(_table([[20, 5], [10, 15]]))
    assert agreement([("first", 0, 1), *labels]).kappa == pytest.approx(0.4)


def test_the_interval_holds_what_others_draw() -> None:
    """Samples of 200 from the population of the published table: the spread of their kappas is the interval's."""
    found = agreement(_table(FLEISS_COHEN_EVERITT))
    draw = random.Random(7)
    items = [(i, j) for i, row in enumerate(FLEISS_COHEN_EVERITT) for j, count in enumerate(row) for _ in range(count)]
    kappas = []
    for _ in range(120):
        sample = draw.choices(items, k=200)
        po = sum(i == j for i, j in sample) / 200
        pe = sum(sum(i == k for i, _ in sample) / 200 * (sum(j == k for _, j in sample) / 200) for k in range(3))
        kappas.append((po - pe) / (1 - pe))
    mean = sum(kappas) / len(kappas)
    deviation = (sum((k - mean) ** 2 for k in kappas) / (len(kappas) - 1)) ** 0.5
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * deviation, rel=0.2)
    assert found.low < found.kappa < found.high


def test_labels_of_any_kind() -> None:
    labels = [("a", ("x", 1), "A"), (2, ("x", 1), None), ("a", "y", "A"), (2, "y", "A"), ("a", 3, None), (2, 3, None)]
    assert agreement(labels).observed == pytest.approx(2 / 3)
