"""What holds for one kind: its cells, and its scores and losses against others' code."""

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    mean_absolute_error,
    r2_score,
)
from torch.nn import functional as F

from pipeline_lib.labels import KINDS
from pipeline_lib.labels.cumulative_link import MIN_GAP, CumulativeLink
from pipeline_lib.labels.kind import MISSING, class_name, labelled
from pipeline_lib.labels.multilabel import tag_matrix
from pipeline_lib.labels.order import natural_order
from tests.pipeline_lib.labels.examples import spec_of, values_of


def two(kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return answers and truths, and both where the truth is known."""
    truth, said = values_of(kind, seed=1), values_of(kind, seed=2, missing=0)
    agreeing = np.random.default_rng(0).random(len(truth)) < 0.4
    said[agreeing & labelled(truth)] = truth[agreeing & labelled(truth)]
    return said, truth, said[labelled(truth)], truth[labelled(truth)]


def test_names_are_in_natural_order() -> None:
    assert natural_order(["b", "10", "a10", "9", "007", "a9", "2", "9"]) == ["2", "007", "9", "10", "a9", "a10", "b"]
    assert natural_order(["7", "07"]) == natural_order(["07", "7"])


@pytest.mark.parametrize("name", ["", "9" * 5000, "٣", "²", "a\n1", "\x00", "-1", "1.5"])
def test_any_name_has_a_place(name: str) -> None:
    assert sorted(natural_order([name, "10", "9"])) == sorted([name, "10", "9"])


def test_whole_numbers_and_blanks_make_no_other_class() -> None:
    cells = (1, 1.0, np.float64(1), np.int8(1), "1", " 1 ")
    assert {class_name(cell) for cell in cells} == {"1"}
    assert [class_name(cell) for cell in (1.5, True, "a b ")] == ["1.5", "True", "a b"]


@pytest.mark.parametrize("kind", ["multiclass", "binary"])
def test_scores_of_classes_are_scikit_learns(kind: str) -> None:
    said, truth, said_known, truth_known = two(kind)
    scores = KINDS[kind].scores(said, truth)
    assert list(scores) == ["balanced_accuracy", "macro_f1", "accuracy"]
    labels = list(KINDS[kind].judged(truth))
    expected = f1_score(truth_known.astype(str), said_known.astype(str), labels=labels, average="macro")
    assert scores["macro_f1"] == pytest.approx(expected)
    assert scores["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(truth_known.astype(str), said_known.astype(str))
    )
    assert scores["accuracy"] == pytest.approx(accuracy_score(truth_known.astype(str), said_known.astype(str)))


def test_the_loss_of_classes_is_cross_entropy() -> None:
    outputs, classes = torch.randn(6, 3), torch.tensor([0, 1, MISSING, 2, MISSING, 1])
    torch.testing.assert_close(KINDS["multiclass"].loss(outputs, classes), F.cross_entropy(outputs, classes))


def test_a_class_of_few_images_is_left_out_and_counted() -> None:
    truth = np.array(["a"] * 10 + ["b"] * 10 + ["rare"] * 4, dtype=object)
    said = np.array(["a"] * 20 + ["rare"] * 4, dtype=object)
    assert KINDS["multiclass"].judged(truth) == ("a", "b")
    score, left_out = KINDS["multiclass"].scorer(said, truth)
    assert (score(np.arange(24)), left_out) == (0.5, 1)
    # Which classes are judged does not change with the rows; a judged one without an image there does not count.
    assert score(np.arange(3, 10)) == 1
    # Of a rare class's images none enters the score, whatever is said of them.
    said[20:] = "a"
    assert KINDS["multiclass"].scores(said, truth)["balanced_accuracy"] == 0.5


def test_one_class_cannot_be_judged() -> None:
    same = np.array(["a"] * 10 + ["rare"], dtype=object)
    assert KINDS["multiclass"].scores(same, same) == {"balanced_accuracy": None, "macro_f1": None, "accuracy": 1.0}


def test_an_image_without_an_answer_is_wrong() -> None:
    truth = np.array(["a", "b"] * 5, dtype=object)
    said = np.where(truth == "a", truth, None)
    expected = {"balanced_accuracy": 0.5, "macro_f1": 0.5, "accuracy": 0.5}
    assert KINDS["binary"].scores(said, truth) == expected


def test_a_list_is_no_class() -> None:
    with pytest.raises(ValueError, match="is a list, while an image has one class of a binary label"):
        KINDS["binary"].read(["a"])


def test_a_binary_label_has_two_classes() -> None:
    three = np.array(["a", "c", "b"], dtype=object)
    assert KINDS["binary"].describe(three)["problem"] == "it has 3 classes (a, b, c), while a binary label has two"
    many = np.array([str(n) for n in range(12)], dtype=object)
    assert "12 classes (0, 1, 2, 3, 4, ...)" in KINDS["binary"].describe(many)["problem"]


def test_an_order_is_kept_and_what_it_leaves_out_is_a_problem() -> None:
    sizes, order = np.array(["large", "small", None], dtype=object), ["small", "medium", "large"]
    spec = KINDS["ordinal"].describe(sizes, order)
    assert spec == {"kind": "ordinal", "classes": ["small", "large"], "order": order, "problem": None}
    assert KINDS["ordinal"].describe(sizes)["classes"] == ["large", "small"]
    assert KINDS["ordinal"].describe(sizes, ["small", "medium"])["problem"] == "its order leaves out 'large'"
    assert KINDS["multiclass"].describe(sizes, ["small", "medium"])["classes"] == ["small", "large"]


def test_scores_in_an_order_are_scikit_learns() -> None:
    order = ["3", "1", "4", "2"]
    said, truth, said_known, truth_known = two("ordinal")
    scores = KINDS["ordinal"].scores(said, truth, {"order": order})
    assert list(scores) == ["quadratic_kappa", "balanced_accuracy", "mae"]
    expected = cohen_kappa_score(truth_known.tolist(), said_known.tolist(), labels=order, weights="quadratic")
    assert scores["quadratic_kappa"] == pytest.approx(expected)
    steps = [abs(order.index(one) - order.index(other)) for one, other in zip(said_known, truth_known, strict=True)]
    assert scores["mae"] == pytest.approx(np.mean(steps))
    natural = KINDS["ordinal"].scores(said, truth)["quadratic_kappa"]
    assert (
        natural
        == pytest.approx(cohen_kappa_score(truth_known.tolist(), said_known.tolist(), weights="quadratic"))
        != pytest.approx(expected)
    )


def test_a_class_without_a_place_in_the_order_is_left_out_and_counted() -> None:
    truth = np.array(["low", "high", "unclear"] * 5, dtype=object)
    score, left_out = KINDS["ordinal"].scorer(truth, truth, {"order": ["low", "high"]})
    assert (score(np.arange(15)), left_out) == (1.0, 1)


def test_a_cumulative_link_gives_differences_of_sigmoids() -> None:
    torch.manual_seed(0)
    link, features = CumulativeLink(7, 4).double(), torch.randn(20, 7).double()
    torch.nn.init.normal_(link.gaps)
    gaps = F.softplus(link.gaps) + MIN_GAP
    thresholds = [link.first, link.first + gaps[0], link.first + gaps[0] + gaps[1]]
    at_most = [torch.sigmoid(one - features @ link.direction.weight[0].float().double()) for one in thresholds]
    direct = torch.stack([at_most[0], at_most[1] - at_most[0], at_most[2] - at_most[1], 1 - at_most[2]], dim=1)
    outputs = link(features)
    torch.testing.assert_close(outputs.exp(), direct, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(KINDS["ordinal"].probabilities(outputs), direct.float(), rtol=1e-4, atol=1e-6)
    classes = torch.arange(20) % 4
    nll = -direct[torch.arange(20), classes].log().mean()
    torch.testing.assert_close(KINDS["ordinal"].loss(outputs, classes), nll.float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("num_classes", [2, 3, 50])
def test_a_cumulative_link_starts_with_equal_classes_and_stays_finite(num_classes: int) -> None:
    link = CumulativeLink(1, num_classes)
    torch.testing.assert_close(link(torch.zeros(1, 1)).exp(), torch.full((1, num_classes), 1 / num_classes))
    with torch.no_grad():
        link.gaps.fill_(-200.0)
    outputs = link(torch.tensor([[1e4], [-1e4]]))
    outputs.sum().backward()
    assert torch.isfinite(outputs).all()
    assert all(torch.isfinite(p.grad).all() for p in link.parameters())


@pytest.mark.parametrize(
    ("cell", "stored"),
    [
        ("b; a ;b", "a;b"),
        ("t10;t9", "t9;t10"),
        (";", ";"),
        (" ; ; ", ";"),
        ([], ";"),
        (["b", None, "a"], "a;b"),
        (np.array(["b", "a"], dtype=object), "a;b"),
        ([2.0, 10], "2;10"),
        (3.0, "3"),
    ],
)
def test_tags_are_read_in_one_form(cell: object, stored: str) -> None:
    assert KINDS["multilabel"].read(cell) == stored


def test_a_tag_has_no_semicolon() -> None:
    with pytest.raises(ValueError, match="has a tag with a semicolon"):
        KINDS["multilabel"].read(["a;b", "c"])


def test_scores_of_tags_are_scikit_learns() -> None:
    said, truth, said_known, truth_known = two("multilabel")
    tags = KINDS["multilabel"].judged(truth)
    assert tags == ("blue", "green", "red")
    true, answered = tag_matrix(truth_known, tags), tag_matrix(said_known, tags)
    scores = KINDS["multilabel"].scores(said, truth)
    assert list(scores) == ["balanced_accuracy", "macro_f1", "subset_accuracy"]
    expected = np.mean([balanced_accuracy_score(true[:, t], answered[:, t]) for t in range(3)])
    assert scores["balanced_accuracy"] == pytest.approx(expected)
    assert scores["macro_f1"] == pytest.approx(f1_score(true, answered, average="macro"))
    assert scores["subset_accuracy"] == pytest.approx(accuracy_score(true, answered))


def test_a_tag_is_judged_where_enough_images_have_it_and_have_it_not() -> None:
    truth = np.array(["a;b"] * 6 + ["a"] * 4 + ["a;c"] * 4, dtype=object)
    assert KINDS["multilabel"].judged(truth) == ("b",)
    score, left_out = KINDS["multilabel"].scorer(truth, truth)
    assert (score(np.arange(14)), left_out) == (1.0, 2)


def test_the_loss_of_tags_is_binary_cross_entropy() -> None:
    values = values_of("multilabel", 20, missing=0)
    encoded = KINDS["multilabel"].encode(values, spec_of("multilabel", values))
    outputs = torch.randn(20, 3)
    expected = F.binary_cross_entropy_with_logits(outputs, encoded)
    torch.testing.assert_close(KINDS["multilabel"].loss(outputs, encoded), expected)


def test_scores_of_numbers_are_scikit_learns() -> None:
    said, truth, said_known, truth_known = two("regression")
    scores = KINDS["regression"].scores(said, truth)
    assert list(scores) == ["mae", "r2"]
    assert scores["mae"] == pytest.approx(mean_absolute_error(truth_known, said_known))
    assert scores["r2"] == pytest.approx(r2_score(truth_known, said_known))


def test_the_loss_of_numbers_is_squared_error() -> None:
    outputs, numbers = torch.randn(3, 1), torch.tensor([1.0, float("nan"), -1.0])
    expected = F.mse_loss(outputs[[0, 2], 0], numbers[[0, 2]])
    torch.testing.assert_close(KINDS["regression"].loss(outputs, numbers), expected)


@pytest.mark.parametrize("cell", ["thick", float("inf"), "-inf", [1.0], "1,5", 10**400])
def test_what_is_no_finite_number_is_refused(cell: object) -> None:
    with pytest.raises(ValueError, match="is no finite number"):
        KINDS["regression"].read(cell)


@pytest.mark.parametrize("values", [[1e308, -1e308], [5e-324, 0.0]])
def test_numbers_that_cannot_be_standardised_are_a_problem(values: list[float]) -> None:
    spec = KINDS["regression"].describe(np.array(values))
    assert "too large or too small" in spec["problem"]
    assert (spec["mean"], spec["std"]) == (0.0, 1.0)


def test_rounding_is_no_spread() -> None:
    assert KINDS["regression"].describe(np.array([0.1] * 3))["problem"] == "it has one value only, 0.1"
