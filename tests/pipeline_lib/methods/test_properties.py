import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline_lib.core.errors import UserError
from pipeline_lib.methods import METHODS
from pipeline_lib.methods import mae as mae_module
from pipeline_lib.methods.mae import MAE
from pipeline_lib.methods.momentum import cosine
from pipeline_lib.views import augment
from tests.pipeline_lib.methods.sets import make_batch, make_encoder, make_method, step, unchanged


def outputs_of(module: nn.Module) -> list[Tensor]:
    outputs: list[Tensor] = []
    module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output.detach().clone()))
    return outputs


def test_the_queue_of_moco_holds_the_last_keys_and_survives_a_checkpoint() -> None:
    method = make_method("moco", options={"memory_bank_size": 16})
    keys = outputs_of(method.key_projection)
    optimizer = torch.optim.SGD(method.parameters(), 0.1)
    for _ in range(3):
        step(method, optimizer, make_batch("moco", num=8), 0.0)
    bank = F.normalize(torch.cat([keys[2], keys[1]]), dim=1)
    fresh = make_method("moco", options={"memory_bank_size": 16})
    fresh.load_state_dict(method.state_dict())
    torch.testing.assert_close(method.criterion.memory_bank.bank, bank)
    torch.testing.assert_close(fresh.criterion.memory_bank.bank, bank)


@pytest.mark.parametrize(
    ("name", "teacher", "momentum"),
    [("moco", "key_encoder", 0.99), ("byol", "teacher_encoder", 0.998), ("dino", "teacher_encoder", 0.998)],
)
def test_a_teacher_is_the_moving_average_of_its_student(name: str, teacher: str, momentum: float) -> None:
    method = make_method(name)
    step(method, torch.optim.SGD(method.parameters(), 0.1), make_batch(name), 0.0)
    before = [p.clone() for p in getattr(method, teacher).parameters()]
    # Halfway along the cosine from 0.996 to 1 is 0.998.
    method.begin_step(0.5)
    after = list(getattr(method, teacher).parameters())
    for old, student, new in zip(before, method.encoder.parameters(), after, strict=True):
        torch.testing.assert_close(new, old * momentum + student * (1 - momentum))
    assert not all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert not any(p.requires_grad for p in after)


def test_the_momentum_rises_along_half_a_cosine() -> None:
    assert [cosine(0.9, 1.0, progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([0.9, 0.95, 1.0])


def test_the_centre_of_dino_follows_what_the_teacher_says() -> None:
    method = make_method("dino", options={"center_momentum": 0.9})
    said = outputs_of(method.teacher_head)
    method(**make_batch("dino"))
    torch.testing.assert_close(method.criterion.center.flatten(), 0.1 * said[0].mean(dim=0))
    assert said[0].mean(dim=0).abs().sum() > 0


@pytest.mark.parametrize(("name", "weight"), [("dino", "head.last_layer.weight_v"), ("swav", "prototypes.weight")])
def test_the_last_layer_stays_as_it_is_at_first(name: str, weight: str) -> None:
    method = make_method(name)
    optimizer = torch.optim.SGD(method.parameters(), 0.1)
    method.begin_step(0.0)
    before = method.get_parameter(weight).clone()
    step(method, optimizer, make_batch(name), 0.0)
    torch.testing.assert_close(method.get_parameter(weight).detach(), before.detach())
    step(method, optimizer, make_batch(name), 0.5)
    assert not torch.allclose(method.get_parameter(weight), before)


def test_the_temperature_of_dinos_teacher_rises_to_its_end() -> None:
    method = make_method("dino", options={"warmup_teacher_temp_share": 0.5})
    batch, taken = make_batch("dino"), []
    method.criterion.register_forward_pre_hook(
        lambda _module, _inputs, named: taken.append(named["teacher_temp"]), with_kwargs=True
    )
    for progress in (0.0, 0.25, 0.5, 0.9):
        method.begin_step(progress)
        method(**batch)
    assert taken == pytest.approx([0.04, 0.055, 0.07, 0.07])


def test_the_prototypes_of_swav_have_length_one_in_every_step() -> None:
    method = make_method("swav")
    method.begin_step(0.0)
    lengths = method.prototypes.weight.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


@pytest.mark.parametrize(("textured", "expected"), [("kept", 0.0), ("hidden", 1.0)])
def test_the_loss_of_mae_counts_the_hidden_patches_alone(
    textured: str, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make_encoder("small_vit")
    method = MAE(encoder, unchanged(encoder))
    # Patches are kept in the order of their draws: the first 4 of 16, the top row of the image.
    monkeypatch.setattr(
        mae_module, "uniforms", lambda count, num: torch.linspace(0, 0.9, count)[:, None].expand(-1, num)
    )
    for p in method.predict.parameters():
        nn.init.zeros_(p)
    rows = slice(0, 4) if textured == "kept" else slice(4, 16)
    images = torch.full((5, 1, 16, 16), 100, dtype=torch.uint8)
    images[:, :, rows] = torch.randint(0, 256, images[:, :, rows].shape, dtype=torch.uint8)
    # Predicting zero, the error of a patch is its variance: 0 if it is flat, else 1 with 15 in place of 16 px.
    assert method(images)["loss"].item() == pytest.approx(expected * 15 / 16, abs=1e-3)


def test_mae_leaves_no_trace_of_hidden_patches_in_what_it_sees() -> None:
    encoder = make_encoder("small_vit")
    method = MAE(encoder, unchanged(encoder))
    seen = outputs_of(method.embed)
    images = make_batch("mae")["images_BCHW"]
    torch.manual_seed(0)
    order = torch.rand(16, len(images)).T.argsort(dim=1)
    hidden = torch.zeros(len(images), 16).scatter_(1, order[:, 4:], 1).view(-1, 1, 4, 4)
    blackened = images * (1 - hidden.repeat_interleave(4, 2).repeat_interleave(4, 3)).byte()
    for batch in (images, blackened):
        torch.manual_seed(0)
        method(batch)
    # The class token and four patches.
    assert seen[0].shape[1] == 5
    torch.testing.assert_close(seen[0], seen[1])


@pytest.mark.parametrize("pretrained", [False, True])
def test_mae_draws_its_own_start_unless_weights_were_given(pretrained: bool) -> None:
    encoder = make_encoder("small_vit")
    encoder.pretrained = pretrained
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    MAE(encoder, unchanged(encoder))
    changed = {key for key, value in encoder.state_dict().items() if not torch.equal(value, before[key])}
    assert ("backbone.pos_embed" in changed) is not pretrained
    assert (not changed) is pretrained


def test_mae_refuses_an_encoder_without_patches() -> None:
    encoder = make_encoder("small_cnn")
    with pytest.raises(UserError, match=r"^encoder is 'small_cnn', .* set it to small_vit$"):
        METHODS["mae"](encoder, unchanged(encoder))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_wee_patch16_reg1_gap_256", "deit3_small_patch16_224"])
def test_mae_reaches_every_weight_of_a_transformer_of_timm(name: str) -> None:
    method = MAE(encoder := make_encoder(name, size=32), augment(encoder))
    method(**make_batch("mae", num=2, size=32))["loss"].backward()
    assert [key for key, p in method.named_parameters() if p.requires_grad and p.grad is None] == []


def test_mae_refuses_patches_that_do_not_divide_the_image() -> None:
    encoder = make_encoder("vit_tiny_patch16_224", size=28)
    with pytest.raises(UserError, match=r"^size is 28 px, which patches of 16 px do not divide"):
        MAE(encoder, unchanged(encoder))


def test_the_supervised_loss_ignores_what_has_no_label() -> None:
    method = make_method("supervised", options={"num_classes": 3})
    logits = outputs_of(method.classifier)
    labels = torch.tensor([2, -1, 0, -1, 1, 1, -1, 0])
    values = method(make_batch("simclr", num=8)["images_BCHW"], labels)
    known = labels >= 0
    torch.testing.assert_close(values["loss"].detach(), F.cross_entropy(logits[0][known], labels[known]))
    torch.testing.assert_close(values["accuracy"], (logits[0][known].argmax(dim=1) == labels[known]).float().mean())


def test_a_batch_without_labels_leaves_the_supervised_weights_alone() -> None:
    method = make_method("supervised")
    values = method(make_batch("simclr", num=8)["images_BCHW"], torch.full((8,), -1))
    values["loss"].backward()
    assert values["loss"].item() == 0
    assert all(p.grad is not None and p.grad.abs().sum() == 0 for p in method.parameters())
