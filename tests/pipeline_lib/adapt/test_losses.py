"""What adapters minimise, against other implementations and the formulas of the papers."""

import math

import numpy as np
import ot
import pytest
import torch
from torch import Tensor, nn

from pipeline_lib.adapt.adversary import domain_loss, schedule
from pipeline_lib.adapt.cdan import CDAN, MOST_PRODUCTS
from pipeline_lib.adapt.coral import recoloured
from pipeline_lib.adapt.dan import WIDTHS, discrepancy
from pipeline_lib.adapt.deep_coral import covariance_distance
from pipeline_lib.adapt.eata import EATA
from pipeline_lib.adapt.jumbot import transport_cost
from pipeline_lib.adapt.shot import nearest_centre
from pipeline_lib.adapt.subspace import turned
from pipeline_lib.stats.shift import mmd
from tests.pipeline_lib.adapt.sets import learn, make_model, make_source, squares, to_tensor


def two_sets(num: int = 12, dim: int = 5, apart: float = 1.0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(num, dim).double(), (torch.randn(num, dim) * 2 + apart).double()


def test_covariances_that_are_equal_have_no_distance_whatever_the_means() -> None:
    source, target = two_sets()
    assert covariance_distance(source, source + 3).item() == pytest.approx(0, abs=1e-12)
    first, second = (np.cov(part.numpy(), rowvar=False) for part in (source, target))
    expected = np.square(first - second).sum() / (np.square(first).sum() + np.square(second).sum())
    assert covariance_distance(source, target).item() == pytest.approx(expected)


def test_the_discrepancy_is_the_mean_of_the_kernels_one_by_one() -> None:
    source, target = two_sets()
    points = torch.cat([source, target])
    squared = [[float((x - y).square().sum()) for y in points] for x in points]
    mean = sum(map(sum, squared)) / (24 * 23)

    def kernel(i: int, j: int) -> float:
        return sum(math.exp(-squared[i][j] / (2 * width * mean)) for width in WIDTHS) / len(WIDTHS)

    within = sum(kernel(i, j) for part in (range(12), range(12, 24)) for i in part for j in part if i != j)
    across = sum(kernel(i, j) for i in range(12) for j in range(12, 24))
    assert discrepancy(source, target).item() == pytest.approx(within / (12 * 11) - 2 * across / 144)


def test_the_discrepancy_sees_what_the_two_sample_test_sees() -> None:
    near, far = two_sets(40, apart=0.0), two_sets(40, apart=2.0)
    assert discrepancy(*far) > discrepancy(*near)
    assert mmd(far[0].numpy(), far[1].numpy(), 20, seed=0)["mmd2"] > 0
    shuffled = torch.cat(far)[torch.randperm(80)]
    assert abs(discrepancy(shuffled[:40], shuffled[40:]).item()) < 0.2 * discrepancy(*far).item()


@pytest.mark.parametrize("distance", [covariance_distance, discrepancy])
def test_batches_of_one_image_have_no_distance(distance: object) -> None:
    one = torch.ones(1, 3, requires_grad=True)
    found = distance(one, torch.zeros(1, 3))  # type: ignore[operator]
    found.backward()
    assert found.item() == 0
    assert one.grad is not None and one.grad.isfinite().all()


def test_the_adversary_learns_the_domains_and_what_feeds_it_unlearns_them() -> None:
    network = nn.Linear(2, 1)
    source, target = torch.tensor([[1.0, 0.0]], requires_grad=True), torch.tensor([[0.0, 1.0]], requires_grad=True)
    loss = domain_loss(network, source, target, strength=0.5)
    loss.backward()
    p = torch.sigmoid(network(torch.cat([source, target])).detach())[:, 0]
    assert loss.item() == pytest.approx(float(-(p[0].log() + (1 - p[1]).log()) / 2), rel=1e-5)
    # Down the slope for the network, and half as far up it for the features.
    slope = (p[0] - 1) / 2 * network.weight.detach()[0]
    torch.testing.assert_close(source.grad, -0.5 * slope[None])
    assert network.bias.grad is not None
    torch.testing.assert_close(network.bias.grad, ((p[0] - 1 + p[1]) / 2)[None])


def test_the_adversary_grows_from_nothing_to_its_full_strength() -> None:
    assert schedule(0) == 0
    assert schedule(1) == pytest.approx(1, abs=1e-4)
    assert schedule(0.25) == pytest.approx(math.tanh(1.25))


def test_cdans_adversary_sees_every_product_of_features_and_classes_or_as_many_random_ones() -> None:
    model = make_model()
    adapter = CDAN(model, "shape", make_source())
    features, probabilities = torch.rand(4, 128), torch.rand(4, 3).softmax(1)
    expected = torch.einsum("bd,bc->bdc", features, probabilities).flatten(1)
    torch.testing.assert_close(adapter._joint(features, probabilities), expected)
    model.specs["shape"] = {**model.specs["shape"], "classes": [str(number) for number in range(40)]}
    torch.manual_seed(0)
    wide = CDAN(model, "shape", make_source())
    features, probabilities = torch.rand(4, 128), torch.rand(4, 40).softmax(1)
    found = wide._joint(features, probabilities)
    assert found.shape == (4, MOST_PRODUCTS)
    # Inner products of such random ones are those of all of them, on average.
    product = (features @ features.T) * (probabilities @ probabilities.T)
    torch.testing.assert_close(found @ found.T, product, rtol=0.3, atol=0.1 * float(product.max()))


def test_the_transport_pairs_what_is_alike_and_leaves_behind_what_has_no_partner() -> None:
    points = torch.tensor([[0.0], [10.0]]).double()
    cost = (points[:, None] - (points + 0.1)[None]).square().sum(dim=2)
    assert transport_cost(cost, mass=100.0, blur=0.01).item() == pytest.approx(0.01, rel=0.05)
    lonely = torch.tensor([[0.0, 1e3], [1e3, 1e3]]).double()
    assert transport_cost(lonely, mass=1.0, blur=0.01).item() < 1


def test_nearest_centres_mend_predictions_that_a_few_images_have_wrong() -> None:
    torch.manual_seed(0)
    numbers = torch.arange(60) % 3
    features = nn.functional.one_hot(numbers, 3).float() * 5 + torch.rand(60, 3)
    probabilities = nn.functional.one_hot(numbers, 3).float() * 0.4 + 0.2
    probabilities[:6] = probabilities[:6].roll(1, dims=1)
    assert (nearest_centre(features, probabilities) == numbers).all()
    # A class that no image is nearest to is given to none.
    probabilities = torch.cat([probabilities, torch.full((60, 1), 0.01)], dim=1)
    assert set(nearest_centre(features, probabilities).tolist()) == {0, 1, 2}


def gaussians(seed: int, num: int, dims: int = 6) -> Tensor:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(dims, dims))
    return torch.from_numpy(rng.normal(size=(num, dims)) @ mixing + rng.normal(size=dims)).float()


def test_recoloured_features_have_the_targets_mean_and_covariance() -> None:
    source, target = gaussians(0, 400), gaussians(1, 300)
    found = recoloured(source, target, 1e-6)
    torch.testing.assert_close(found.mean(dim=0), target.mean(dim=0), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found.T.cov(), target.T.cov(), atol=1e-2, rtol=1e-2)


def test_recolouring_is_the_maximum_of_closeness_that_pot_knows_for_equal_eigenvectors() -> None:
    # Between Gaussians whose covariances commute, the map of CORAL is that of optimal transport.
    source, target = torch.randn(500, 5) * torch.arange(1, 6), torch.randn(500, 5) * torch.tensor([3.0, 1, 2, 5, 1])
    axes = torch.linalg.qr(torch.randn(5, 5)).Q
    source, target = (_diagonal(x) @ axes.T for x in (source, target))
    matrix, offset = ot.gaussian.empirical_bures_wasserstein_mapping(source.double(), target.double(), reg=1e-9)
    expected = (source.double() @ matrix + offset).float()
    torch.testing.assert_close(recoloured(source, target, 1e-9), expected, atol=2e-3, rtol=1e-3)


def _diagonal(x_ND: Tensor) -> Tensor:
    """Return points of exactly uncorrelated columns, with the variances of ``x_ND``."""
    centred = x_ND - x_ND.mean(dim=0)
    return torch.linalg.qr(centred).Q * len(x_ND) ** 0.5 * centred.std(dim=0)


def test_turned_features_lie_in_the_targets_subspace_and_stay_as_they_are_where_it_is_the_same() -> None:
    source, target = gaussians(0, 200), gaussians(1, 150)
    found = turned(source, target, 2)
    centred = target - target.mean(dim=0)
    basis = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
    rest = found - target.mean(dim=0)
    torch.testing.assert_close(rest @ basis.T @ basis, rest, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(turned(source, source, 6), source, atol=1e-3, rtol=1e-3)


def test_eata_counts_sure_images_unlike_those_before_and_weighs_them() -> None:
    model = make_model()
    learn(model, make_source(), steps=20)
    adapter = EATA(model, "shape", make_source(), fisher=0.0).eval()
    images = to_tensor(np.concatenate([squares(9, seed=2)[0], squares(9, seed=2, shifted=True)[0]]))
    p = model.eval()(model.encoder.normalise(images))["shape"].detach().softmax(1)
    before = torch.tensor([0.5, 0.2, 0.3])
    unsure, alike = -(p * p.log()).sum(1), (p @ before) / (p.norm(dim=1) * before.norm())
    # Half of the images are sure enough, and about half of those are new enough.
    limit = unsure.sort().values[8:10].mean()
    most_alike = alike[unsure < limit].sort().values[4:6].mean()
    counts = (unsure < limit) & (alike < most_alike)
    assert 0 < counts.sum() < 9
    adapter.margin, adapter.most_alike = float(limit) / math.log(3), float(most_alike)
    adapter.mean_prediction.copy_(before)
    found = adapter(images, torch.arange(18))
    assert found["counts"].item() == pytest.approx(float(counts.float().mean()))
    expected = ((limit - unsure).exp() * unsure)[counts].mean()
    assert found["loss"].item() == found["entropy"].item() == pytest.approx(expected.item(), rel=1e-3)
    torch.testing.assert_close(adapter.mean_prediction, 0.9 * before + 0.1 * p[counts].mean(0))


def test_eatas_penalty_is_the_fisher_information_of_the_source_times_squared_moves() -> None:
    model = make_model()
    source = make_source(32)  # one batch
    adapter = EATA(model, "shape", source, fisher=2.0)
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    model.train()
    outputs = model(model.encoder.normalise(source.columns["images_BCHW"]))["shape"]
    loss = nn.functional.cross_entropy(outputs, outputs.argmax(1))
    squared = [one.square() for one in torch.autograd.grad(loss, list(trained.values()))]
    with torch.no_grad():
        for one in trained.values():
            one += 0.1
    expected = 0.01 * sum(float(one.sum()) for one in squared)
    found = adapter(to_tensor(squares(9, seed=2)[0]), torch.arange(9))
    assert found["penalty"].item() == pytest.approx(expected, rel=1e-3)
    assert found["loss"].item() == pytest.approx((found["entropy"] + 2 * found["penalty"]).item(), rel=1e-5)
