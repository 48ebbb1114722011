"""What every adapter must do, and what each does."""

import copy
import inspect
import math
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline_lib.adapt import ADAPTERS, Adapter
from pipeline_lib.adapt.adapter import entropy
from pipeline_lib.adapt.mcc import class_confusion
from pipeline_lib.adapt.shot_im import ShotIM
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.registry import Range, option_hints, with_options
from pipeline_lib.data.rows import Rows
from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.encoders.inference import stream
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.training import Batches, Hardware, fit
from tests.pipeline_lib.adapt.sets import WITH_CLASSES, learn, make_model, make_source, squares, to_tensor
from tests.pipeline_lib.training.sets import stored

CPU = torch.device("cpu")
NORMS = [name for name, adapter in ADAPTERS.items() if adapter.needs_batch_norm]
TRAINED = [name for name, adapter in ADAPTERS.items() if adapter.trains]


def make_adapter(
    name: str, model: MultiTask, kind: str = "multiclass", num_images: int = 120, **options: Any
) -> Adapter:
    return ADAPTERS[name](model, "shape", make_source(kind=kind), num_images, **options)


def run(adapter: Adapter, rows: Rows, folder: Path, epochs: int = 2, lr: float = 4e-3) -> pd.DataFrame | None:
    """Train and finish the adapter as a stage does."""
    history = None
    if adapter.trains:
        history = fit(
            adapter,
            Batches({"images_BCHW": rows, "places_B": torch.arange(len(rows))}, 32, seed=0),
            name=adapter.name,
            epochs=epochs,
            lr=lr * adapter.rate,
            weight_decay=0.0,
            hardware=Hardware(CPU),
            seed=0,
            checkpoints=folder,
        )
    adapter.finish(rows, CPU)
    return history


def norms(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def own_statistics(model: MultiTask, images_NHWC: np.ndarray) -> list[tuple[Tensor, Tensor]]:
    """Return mean and variance of what goes into each batch normalisation, over all images as one batch."""
    model, found = copy.deepcopy(model).train(), []

    def keep(module: nn.Module, inputs: tuple[Tensor]) -> None:
        channels = inputs[0].transpose(0, 1).flatten(1)
        found.append((channels.mean(1), channels.var(1)))

    for norm in norms(model):
        norm.register_forward_pre_hook(keep)
    with torch.no_grad():
        model(model.encoder.normalise(to_tensor(images_NHWC)))
    return found


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_knows_its_name(name: str) -> None:
    assert ADAPTERS[name].name == name


@pytest.mark.parametrize("name", ADAPTERS)
def test_after_finish_every_statistic_is_the_targets_own(name: str, tmp_path: Path) -> None:
    model = make_model()
    learn(model, make_source(), steps=5)
    images, _ = squares(90, seed=2, shifted=True)
    run(make_adapter(name, model), stored(tmp_path, images), tmp_path)
    assert not any(module.training for module in model.modules())
    expected = own_statistics(model, images)
    assert len(expected) == 4
    for norm, (mean, variance) in zip(norms(model), expected, strict=True):
        torch.testing.assert_close(norm.running_mean, mean, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(norm.running_var, variance, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", TRAINED)
def test_without_finish_the_statistics_are_not_the_targets_own(name: str, tmp_path: Path) -> None:
    model = make_model()
    learn(model, make_source(), steps=5)
    images, _ = squares(90, seed=2, shifted=True)
    adapter = make_adapter(name, model)
    adapter.finish = lambda *_: None
    run(adapter, stored(tmp_path, images), tmp_path)
    first, (mean, _) = norms(model)[0], own_statistics(model, images)[0]
    assert (first.running_mean - mean).abs().max() > 0.01


@pytest.mark.parametrize("kind", WITH_CLASSES)
@pytest.mark.parametrize("name", ADAPTERS)
def test_adapting_to_other_light_helps(name: str, kind: str, tmp_path: Path) -> None:
    model = make_model(kind)
    num_classes = len(model.specs["shape"]["classes"])
    learn(model, make_source(kind=kind), kind, steps=150)
    images, numbers = squares(120, seed=3, shifted=True, num_classes=num_classes)
    rows = stored(tmp_path, images)

    def accuracy() -> float:
        parts = stream(model, model.encoder, rows, CPU, 50, lambda outputs: outputs["shape"].argmax(1), None)
        return float((torch.cat(parts).numpy() == numbers).mean())

    before = accuracy()
    history = run(make_adapter(name, model, kind), rows, tmp_path, epochs=6)
    assert before < 0.7
    assert accuracy() > 0.9
    if history is not None:
        assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize("name", ADAPTERS)
def test_two_images_are_enough_and_one_is_not(name: str, tmp_path: Path) -> None:
    model = make_model()
    images, _ = squares(2, seed=0, shifted=True)
    run(make_adapter(name, model), stored(tmp_path, images), tmp_path)
    assert all(value.isfinite().all() for value in model.state_dict().values())
    with pytest.raises(UserError, match="needs two images of the target or more, but there are 1"):
        make_adapter(name, model).finish(stored(tmp_path, images[:1]), CPU)


@pytest.mark.parametrize("name", ADAPTERS)
def test_what_an_adapter_leaves_is_the_same_each_time(name: str, tmp_path: Path) -> None:
    images, _ = squares(40, seed=2, shifted=True)
    states = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        model = make_model()
        run(make_adapter(name, model), stored(folder, images), folder)
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_option_has_a_default_in_its_range_and_is_refused_outside(name: str) -> None:
    adapter = ADAPTERS[name]
    options = {p.name: p.default for p in inspect.signature(adapter).parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert options
    with_options(adapter, options, name)(make_model(), "shape", make_source())
    for option in options:
        hint = option_hints(adapter)[option]
        wrong: Any = "no such word"
        if get_origin(hint) is not Literal:
            assert get_origin(hint) is Annotated, f"{option} has no range"
            (bounds,) = (item for item in get_args(hint) if isinstance(item, Range))
            lowest = bounds.ge if bounds.gt is None else bounds.gt
            assert lowest is not None
            wrong = lowest - 1
        with pytest.raises(UserError, match=f"{name}.{option} is"):
            with_options(adapter, {option: wrong}, name)


@pytest.mark.parametrize("name", [name for name, adapter in ADAPTERS.items() if adapter.needs_label])
@pytest.mark.parametrize(
    ("label", "message"),
    [
        (None, "but no label is named: leave"),
        ("colour", "but the model has not learnt 'colour': leave"),
        ("size.px", "'size.px' is of the kind regression: name another label or leave"),
    ],
)
def test_an_adapter_that_goes_by_classes_says_that_there_are_none(name: str, label: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        ADAPTERS[name](make_model(), label, make_source())
    assert "params.yaml" not in str(error.value)


@pytest.mark.parametrize("name", [name for name, adapter in ADAPTERS.items() if not adapter.needs_label])
def test_an_adapter_that_needs_no_label_does_without(name: str, tmp_path: Path) -> None:
    model = MultiTask(make_model().encoder, {})
    images, _ = squares(20, seed=0, shifted=True)
    assert ADAPTERS[name].lacks(model, None) is None
    run(ADAPTERS[name](model, None, make_source(20)), stored(tmp_path, images), tmp_path)


@pytest.mark.parametrize("name", [name for name, adapter in ADAPTERS.items() if adapter.needs_source])
def test_an_adapter_that_needs_the_source_says_that_there_is_none(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} needs labelled images of the source"):
        ADAPTERS[name](make_model(), "shape", None)


def test_adabn_leaves_every_weight_and_averages_over_equal_batches(tmp_path: Path) -> None:
    model = make_model()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    images, _ = squares(64, seed=2, shifted=True)
    rows = stored(tmp_path, images)
    run(make_adapter("adabn", model, batch_size=16), rows, tmp_path)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    first, (mean, _) = norms(model)[0], own_statistics(model, images)[0]
    torch.testing.assert_close(first.running_mean, mean, rtol=1e-3, atol=1e-4)
    assert int(first.num_batches_tracked) == 4
    assert first.momentum == 0.1


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_encoder_without_batch_normalisation(name: str, tmp_path: Path) -> None:
    model = make_model(encoder="small_vit")
    if name in NORMS:
        with pytest.raises(UserError, match=f"{name} .*the encoder 'small_vit'"):
            make_adapter(name, model)
        return
    before = {key: value.clone() for key, value in model.encoder.state_dict().items()}
    images, _ = squares(8, seed=0)
    make_adapter(name, model).finish(stored(tmp_path, images), CPU)
    assert all(torch.equal(value, before[key]) for key, value in model.encoder.state_dict().items())
    assert not model.training


def test_shot_leaves_the_heads_as_they_were_and_moves_the_encoder(tmp_path: Path) -> None:
    model = make_model()
    before = copy.deepcopy(model)
    images, _ = squares(40, seed=2, shifted=True)
    run(make_adapter("shot_im", model), stored(tmp_path, images), tmp_path)
    for (name, weight), old in zip(model.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(weight, old) == (not name.startswith("encoder.")), name


@pytest.mark.parametrize("kind", WITH_CLASSES)
def test_shots_loss_is_the_entropy_of_each_less_that_of_the_mean(kind: str) -> None:
    model = make_model(kind)
    adapter = make_adapter("shot_im", model, kind, diversity=0.5).eval()
    images = to_tensor(squares(9, seed=2)[0])
    found = adapter(images, torch.arange(9))
    p = model(model.encoder.normalise(images))["shape"].double().softmax(1)
    certainty = -sum(p[i, c] * p[i, c].log() for i in range(len(p)) for c in range(p.shape[1])) / len(p)
    variety = -sum(p[:, c].mean() * p[:, c].mean().log() for c in range(p.shape[1]))
    assert found["entropy"].item() == pytest.approx(certainty.item(), rel=1e-5)
    assert found["marginal_entropy"].item() == pytest.approx(variety.item(), rel=1e-5)
    assert found["loss"].item() == pytest.approx((certainty - 0.5 * variety).item(), rel=1e-4)


def test_shots_prior_is_what_the_mean_prediction_is_drawn_to() -> None:
    model, images = make_model(), to_tensor(squares(9, seed=2)[0])
    source = make_source()
    counts = source.columns[f"label_{list(model.specs).index('shape')}"].bincount(minlength=3) + 1
    mean = model.eval()(model.encoder.normalise(images))["shape"].softmax(1).mean(0)
    distance = (mean * (mean / (counts / counts.sum())).log()).sum()
    found = ShotIM(model, "shape", source, 9, prior="source").eval()(images, torch.arange(9))
    assert found["marginal_entropy"].item() == pytest.approx(math.log(3) - distance.item(), rel=1e-5)
    with pytest.raises(UserError, match="take 'uniform'"):
        ShotIM(model, "shape", None, 9, prior="source")


def test_continued_pretraining_is_simclrs_loss_of_the_target_beside_the_labels_of_the_source() -> None:
    model = make_model()
    adapter = with_options(ADAPTERS["continued"], {"weight": 0.25}, "continued")(model, "shape", make_source(), 9)
    images = to_tensor(squares(9, seed=2)[0])
    torch.manual_seed(5)
    found = adapter(images, torch.arange(9))
    torch.manual_seed(5)
    torch.randint(96, (9,))  # which images of the source are drawn
    first, second = (F.normalize(adapter.projection(model.encoder(view))) for view in adapter.views(images))
    both = torch.cat([first, second])
    similarity = (both @ both.T / 0.2).fill_diagonal_(-torch.inf)
    expected = F.cross_entropy(similarity, torch.arange(18).roll(9))
    assert found["contrast_loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert found["loss"].item() == pytest.approx((found["source_loss"] + 0.25 * expected).item(), rel=1e-4)


def test_entropy_runs_from_certain_to_uniform() -> None:
    values = entropy(torch.tensor([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]))
    assert values.tolist() == pytest.approx([0.0, math.log(3)], abs=1e-6)


def papers_confusion(outputs_BC: Tensor, temperature: float, stop: bool) -> Tensor:
    """Equations 3 to 9 of the paper, image by image and class by class."""
    num, classes = outputs_BC.shape
    scaled = [[(outputs_BC[i, j] / temperature).exp() for j in range(classes)] for i in range(num)]
    y = [[scaled[i][j] / sum(scaled[i]) for j in range(classes)] for i in range(num)]
    certainty = [1 + (sum(y[i][j] * y[i][j].log() for j in range(classes))).exp() for i in range(num)]
    if stop:
        certainty = [value.detach() for value in certainty]
    weight = [num * value / sum(certainty) for value in certainty]
    confusion = [
        [sum(y[i][j] * weight[i] * y[i][k] for i in range(num)) for k in range(classes)] for j in range(classes)
    ]
    shares = [[confusion[j][k] / sum(confusion[j]) for k in range(classes)] for j in range(classes)]
    return sum(shares[j][k] for j in range(classes) for k in range(classes) if j != k) / classes


def test_class_confusion_is_the_papers_and_its_weights_pass_no_gradient() -> None:
    torch.manual_seed(0)
    outputs, temperature = (3 * torch.randn(7, 4)).double().requires_grad_(), 2.5
    found = class_confusion((outputs / temperature).softmax(1))
    expected = papers_confusion(outputs, temperature, stop=True)
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)
    (gradient,) = torch.autograd.grad(found, outputs)
    (theirs,) = torch.autograd.grad(expected, outputs)
    (flowing,) = torch.autograd.grad(papers_confusion(outputs, temperature, stop=False), outputs)
    torch.testing.assert_close(gradient, theirs)
    assert (theirs - flowing).abs().max() > 1e-3 * theirs.abs().max()


def test_certain_predictions_are_not_confused_and_classes_without_images_are_no_nan() -> None:
    certain = torch.eye(4).repeat(3, 1)
    assert class_confusion(certain).item() == pytest.approx(0, abs=1e-6)
    absent = certain[certain[:, 0] == 0].clone().requires_grad_()
    class_confusion(absent).backward()
    assert class_confusion(absent).item() == pytest.approx(0, abs=1e-6)
    assert absent.grad is not None
    assert absent.grad.isfinite().all()


@pytest.mark.parametrize("kind", WITH_CLASSES)
def test_mccs_loss_is_the_labels_on_the_source_and_confusion_on_the_target(kind: str) -> None:
    model = make_model(kind)
    adapter = make_adapter("mcc", model, kind, temperature=2.0, weight=0.7).eval()
    images = to_tensor(squares(9, seed=2)[0])
    torch.manual_seed(5)
    found = adapter(images, torch.arange(9))
    torch.manual_seed(5)
    assert adapter.source is not None
    source = adapter.source.take(torch.randint(96, (9,)))
    supervised = -model(model.encoder.normalise(source["images_BCHW"]))["shape"].log_softmax(1)
    # The other label, of which the source has none, counts as well, with a loss of zero.
    expected = supervised[torch.arange(9), source["label_1"]].mean() / 2
    outputs = model(model.encoder.normalise(images))["shape"]
    confusion = papers_confusion(outputs, 2.0, stop=True)
    assert found["source_loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert found["confusion"].item() == pytest.approx(confusion.item(), rel=1e-4)
    assert found["loss"].item() == pytest.approx((expected + 0.7 * confusion).item(), rel=1e-4)


def test_mcc_normalises_each_domain_by_its_own_batch_and_does_not_see_labels_that_are_missing() -> None:
    model = make_model()
    source = make_source()
    labels = source.columns["label_1"]
    assert isinstance(labels, Tensor)
    labels[:] = -100
    adapter = ADAPTERS["mcc"](model, "shape", source).train()
    seen: list[Tensor] = []
    norms(model)[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    found = adapter(to_tensor(squares(12, seed=2, shifted=True)[0]), torch.arange(12))
    assert found["source_loss"].item() == 0
    assert [len(x) for x in seen] == [12, 12]


@pytest.mark.parametrize("name", ADAPTERS)
def test_what_an_adapter_lacks_is_known_before_it_is_made(name: str) -> None:
    encoders = {name: Encoder(name, 1, 16, [0.5], [0.5]) for name in ("small_cnn", "small_vit")}
    plain = MultiTask(encoders["small_vit"], {})
    assert ("no batch normalisation" in (ADAPTERS[name].lacks(plain, "kind") or "")) == (name in NORMS)
    assert (ADAPTERS[name].lacks(MultiTask(encoders["small_cnn"], {}), None) is None) != ADAPTERS[name].needs_label
