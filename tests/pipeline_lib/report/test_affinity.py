from pipeline_lib.report.affinity import MOST_LABELS, affinity


def row(of, to, value, low=None, high=None):
    return {"of": of, "to": to, "value": value, "low": low, "high": high}


def test_an_effect_is_called_by_the_side_on_which_its_interval_lies():
    found = affinity([
        row("a", "a", 0.01, 0.009, 0.011), row("a", "b", 0.0021, 0.001, 0.003), row("b", "a", -0.002, -0.003, -0.001),
        row("c", "a", 0.002, -0.001, 0.005), row("a", "c", 0.002),
    ])  # fmt: skip
    words = {pair: cell["word"] for pair, cell in found["cells"].items() if not cell["own"]}
    assert words == {("a", "b"): "helps", ("b", "a"): "harms", ("c", "a"): "unclear", ("a", "c"): "unclear"}
    assert found["counts"] == {"helps": 1, "harms": 1, "unclear": 2}
    assert found["cells"]["a", "b"]["value"] == "+2.10"
    assert found["cells"]["b", "a"]["interval"] == "\N{MINUS SIGN}3.00 to \N{MINUS SIGN}1.00"


def test_of_many_labels_those_are_shown_that_give_or_take_the_most():
    names = [f"label {number}" for number in range(MOST_LABELS + 5)]
    rows = [row(of, to, 0.001 * (of == names[-1] and to == names[0])) for of in names for to in names]
    found = affinity(rows)
    assert len(found["labels"]) == MOST_LABELS and names[-1] in found["labels"] and found["num_hidden"] == 5


def test_nothing_is_shown_where_nothing_was_measured():
    assert affinity([]) is None and affinity([row("a", "a", 0.1)]) is None
