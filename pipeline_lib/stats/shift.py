"""How far apart two domains are, measured on any features of their images."""

import math

import numpy as np
from scipy import linalg
from scipy.stats import mannwhitneyu
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.stats.folds import folds_of, in_every_training

FOLDS = 5


# The keys of source and target images; images of one key are in one fold.
Keys = tuple[np.ndarray, np.ndarray]


def domain_classifier(
    source_ND: np.ndarray, target_ND: np.ndarray, seed: int, keys: Keys | None = None
) -> dict[str, float]:
    """Return how well a linear classifier tells the domains apart on images that it was not fitted on.

    ``domain_auc`` is the area under the ROC curve (0.5: no shift that it sees, 1: fully apart).
    ``proxy_a_distance`` is 2 (1 - 2 err) with the balanced error (Ben-David et al. 2007): 2 is fully apart,
    0 is chance, and chance can make it slightly negative. Both are NaN for a set of fewer than two images (or keys).
    """
    return separation(*domain_probabilities(source_ND, target_ND, seed, keys))


def separation(source_N: np.ndarray, target_M: np.ndarray) -> dict[str, float]:
    """Return the numbers of :func:`domain_classifier` for the probabilities that it gave to each set."""
    probability = np.concatenate([source_N, target_M])
    if np.isnan(probability).any():
        return {"domain_auc": math.nan, "proxy_a_distance": math.nan}
    is_target = np.repeat([0, 1], [len(source_N), len(target_M)])
    error = 1 - balanced_accuracy_score(is_target, probability >= 0.5)
    return {"domain_auc": float(roc_auc_score(is_target, probability)), "proxy_a_distance": float(2 * (1 - 2 * error))}


def density_ratio(source_N: np.ndarray) -> np.ndarray:
    """Return p_target(x) / p_source(x) of the images to which the domain classifier gave these probabilities.

    It is the odds p / (1 - p) (Bickel et al. 2009). The classifier is balanced, which already stands for the
    factor n_source / n_target of an unbalanced one.
    """
    p = source_N.clip(1e-6, 1 - 1e-6)
    return p / (1 - p)


def effective_sample_size(weights_N: np.ndarray) -> float:
    """Return the effective sample size of Kish, (sum w)^2 / sum w^2, between 1 and N."""
    return float(weights_N.sum() ** 2 / np.square(weights_N).sum())


@threadpool_limits.wrap(limits=1)
def domain_probabilities(
    source_ND: np.ndarray, target_ND: np.ndarray, seed: int, keys: Keys | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of "target" for each source ``[N]`` and each target image ``[M]``, out of fold.

    The classifier is a logistic regression on at most 50 whitened principal components that counts both domains
    equally, however many images they have. NaN for a set of fewer than two images, or of fewer than two keys.
    """
    # On small matrices more threads wait for each other: on a busy machine 20 times as long as one thread takes.
    features = np.concatenate([source_ND, target_ND]).astype(np.float64)
    is_target = np.repeat([0, 1], [len(source_ND), len(target_ND)])
    probability = np.full(len(features), np.nan)
    keys_N = np.arange(len(features)) if keys is None else np.concatenate(keys).astype(str)
    folds = min(FOLDS, *(len(np.unique(keys_N[is_target == domain])) for domain in (0, 1)))
    fold_of_N = folds_of(is_target, keys_N, seed, max(folds, 1))
    if folds > 1 and in_every_training(is_target, fold_of_N).all():
        smallest_fit = len(features) - int(np.bincount(fold_of_N).max()) - 1
        model = _classifier(min(features.shape[1], smallest_fit))
        # Images that are all equal leave components without variance, which divide by it.
        with np.errstate(invalid="ignore"):
            split = PredefinedSplit(fold_of_N)
            probability = cross_val_predict(model, features, is_target, cv=split, method="predict_proba")[:, 1]
    return probability[: len(source_ND)], probability[len(source_ND) :]


@threadpool_limits.wrap(limits=1)
def domain_test(source_ND: np.ndarray, target_ND: np.ndarray, seed: int, keys: Keys | None = None) -> float:
    """Return the p-value of the hypothesis that both sets are drawn alike (Lopez-Paz & Oquab 2017, classifier tests).

    The classifier of :func:`domain_probabilities` learns from half of the images of each set (or of their keys), and
    the ranks that it gives to the other half are compared (Mann-Whitney, one-sided): with images that it learnt from,
    or with folds, whose classifiers share images, the level would not hold. NaN where a half of a set has not two.
    """
    parts = []
    for number, x_ND in enumerate((source_ND, target_ND)):
        keys_N = np.arange(len(x_ND)) if keys is None else keys[number].astype(str)
        names = np.unique(keys_N)
        rng = np.random.default_rng(derive_seed(seed, "domain test", number))
        first_N = np.isin(keys_N, rng.permutation(names)[: len(names) // 2])
        parts.append((x_ND[first_N].astype(np.float64), x_ND[~first_N].astype(np.float64)))
    if min(len(half) for pair in parts for half in pair) < 2:
        return math.nan
    (source, source_rest), (target, target_rest) = parts
    learnt = np.concatenate([source, target])
    model = _classifier(min(learnt.shape[1], len(learnt) - 1))
    with np.errstate(invalid="ignore"):
        model.fit(learnt, np.repeat([0, 1], [len(source), len(target)]))
        given = [model.decision_function(rest) for rest in (target_rest, source_rest)]
    return float(mannwhitneyu(*given, alternative="greater").pvalue)


def _classifier(most: int) -> Pipeline:
    return make_pipeline(
        PCA(max(1, min(50, most)), svd_solver="randomized", random_state=0),
        StandardScaler(),
        LogisticRegression(class_weight="balanced", max_iter=1000),
    )


def mmd(source_ND: np.ndarray, target_ND: np.ndarray, permutations: int, seed: int) -> dict[str, float]:
    """Return the unbiased squared maximum mean discrepancy and its p-value (Gretton et al. 2012).

    The kernel is exp(-|x - y|^2 / (2 sigma^2)) where sigma^2 is the median squared distance of two different
    images of the pooled sets. The unbiased estimate ``mmd2`` may be negative. ``mmd_p_value`` is the share of
    permutations of the domains, the given one included, with at least this mmd2; it takes images for independent,
    so that groups of alike images make it smaller than it should be. NaN for fewer than two images. Memory and time
    are quadratic: give it a sample.
    """
    num_source, num_target = len(source_ND), len(target_ND)
    if min(num_source, num_target) < 2:
        return {"mmd2": math.nan, "mmd_p_value": math.nan}
    pooled = np.concatenate([source_ND, target_ND]).astype(np.float64)
    squared = euclidean_distances(pooled, squared=True)
    sigma2 = float(np.median(squared[np.triu_indices_from(squared, k=1)])) or 1.0
    kernel = np.exp(squared / (-2 * sigma2))
    np.fill_diagonal(kernel, 0)

    # One column per assignment of the pooled images to the source: the given one first.
    rng = np.random.default_rng(derive_seed(seed, "mmd"))
    is_source = np.zeros((len(pooled), permutations + 1))
    is_source[:num_source, 0] = 1
    for column in range(1, permutations + 1):
        is_source[rng.permutation(len(pooled))[:num_source], column] = 1
    to_source = kernel @ is_source
    within_source = (is_source * to_source).sum(axis=0)
    across = ((1 - is_source) * to_source).sum(axis=0)
    within_target = kernel.sum() - within_source - 2 * across
    mmd2 = (
        within_source / (num_source * (num_source - 1))
        + within_target / (num_target * (num_target - 1))
        - 2 * across / (num_source * num_target)
    )
    # Rounding must not let an equal permutation count as a smaller one.
    at_least = int((mmd2[1:] >= mmd2[0] - 1e-12).sum())
    return {"mmd2": float(mmd2[0]), "mmd_p_value": (1 + at_least) / (1 + permutations)}


def frechet_distance(source_ND: np.ndarray, target_ND: np.ndarray) -> float:
    """Return the squared Wasserstein-2 distance of the Gaussians fitted to both sets (Dowson and Landau 1982).

    |mu_s - mu_t|^2 + tr(S + T - 2 (S^1/2 T S^1/2)^1/2), in squared units of the features; NaN for fewer than
    two images in a set.
    """
    if min(len(source_ND), len(target_ND)) < 2:
        return math.nan
    source, target = source_ND.astype(np.float64), target_ND.astype(np.float64)
    S, T = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (source, target))
    root = _root(S)
    covariances = np.trace(S) + np.trace(T) - 2 * np.trace(_root(root @ T @ root))
    means = np.square(source.mean(axis=0) - target.mean(axis=0)).sum()
    return float(means + max(covariances, 0.0))


def _root(matrix: np.ndarray) -> np.ndarray:
    """Return the square root of a symmetric positive semidefinite matrix."""
    values, vectors = linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T
