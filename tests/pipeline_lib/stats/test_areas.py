import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from pipeline_lib.stats.areas import auroc, mean_average_precision


def classes(num_classes: int, num: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities that add up to 1, and the classes that they are somewhat right about."""
    rng = np.random.default_rng(num_classes)
    probability_NC = rng.dirichlet(np.ones(num_classes), num).astype(np.float32)
    probability_NC[:20] = probability_NC[20:40]  # which makes ties
    truth_N = np.array([rng.choice(num_classes, p=row / row.sum()) for row in probability_NC.astype(np.float64)])
    return probability_NC, truth_N


def tags(num: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    probability_NT = rng.random((num, 4)).astype(np.float32).round(2)
    return probability_NT, rng.random((num, 4)) < 0.6 * probability_NT + 0.1


@pytest.mark.parametrize("num_classes", [2, 3, 8])
def test_the_area_of_classes_is_that_of_others(num_classes: int) -> None:
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    probability_NC, truth_N = classes(num_classes)
    found = auroc(probability_NC, truth_N[:, None] == np.arange(num_classes))
    expected = metrics.multiclass_auroc(torch.from_numpy(probability_NC), torch.from_numpy(truth_N), num_classes)
    assert found == pytest.approx(float(expected), abs=1e-5) and 0.5 < found < 1
    if num_classes == 2:
        assert found == pytest.approx(roc_auc_score(truth_N, probability_NC[:, 1]), abs=1e-5)
    else:
        assert found == pytest.approx(roc_auc_score(truth_N, probability_NC, multi_class="ovr"), abs=1e-5)


def test_the_areas_of_tags_are_those_of_others() -> None:
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    probability_NT, has_NT = tags()
    given = torch.from_numpy(probability_NT), torch.from_numpy(has_NT).long(), 4
    assert auroc(probability_NT, has_NT) == pytest.approx(float(metrics.multilabel_auroc(*given)), abs=1e-5)
    expected = float(metrics.multilabel_average_precision(*given))
    assert mean_average_precision(probability_NT, has_NT) == pytest.approx(expected, abs=1e-5)


def test_one_tag_alone_has_areas_and_what_says_nothing_those_of_chance() -> None:
    _, has_NT = tags()
    one_N1, nothing_N1 = has_NT[:, :1], np.zeros((300, 1))
    assert auroc(one_N1.astype(float), one_N1) == mean_average_precision(one_N1.astype(float), one_N1) == 1
    assert auroc(nothing_N1, one_N1) == 0.5
    assert mean_average_precision(nothing_N1, one_N1) == pytest.approx(one_N1.mean())
