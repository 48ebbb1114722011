"""Who helps whom: measured on labels that are known to agree, to be opposite, or to have nothing in common."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline_lib.encoders.encoder import from_config
from pipeline_lib.heads import affinity as module
from pipeline_lib.heads.affinity import TIMES, Affinity
from pipeline_lib.heads.learner import HeadsLearner
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.heads.strategies import STRATEGIES
from pipeline_lib.labels.kind import MISSING

CONFIG = {"encoder": "small_cnn", "channels": 1, "size": 16, "mean": [0.4], "std": [0.3], "stem": None}
SPEC = {"kind": "multiclass", "classes": ["a", "b"]}


def make_learner(num_labels: int, strategy: str = "all") -> HeadsLearner:
    torch.manual_seed(0)
    model = MultiTask(from_config(CONFIG, 0), {f"label {number}": SPEC for number in range(num_labels)})
    return HeadsLearner(model, lambda images: [model.encoder.normalise(images)], STRATEGIES[strategy]).train()


def batch(*labels: Tensor) -> dict[str, Tensor]:
    images = torch.randint(
        0, 100, (len(labels[0]), 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    images[labels[0] == 1, :, :8] += 100
    return {"images_BCHW": images, **{f"label_{number}": column for number, column in enumerate(labels)}}


def measured(learner: HeadsLearner, columns: dict[str, Tensor]) -> np.ndarray:
    assert learner.affinity is not None
    learner.affinity.due = True
    learner(**columns)
    return np.array(learner.affinity.found[-1], dtype=float)


def test_labels_that_say_the_same_help_and_opposite_ones_harm() -> None:
    learner = make_learner(3)
    with torch.no_grad():
        for head in learner.model.heads:
            head.load_state_dict(learner.model.heads[0].state_dict())
    one = torch.arange(64) % 2
    found = measured(learner, batch(one, one, 1 - one))
    assert found[0, 0] > 0 and found[0, 1] == pytest.approx(found[0, 0]) and found[1, 0] == pytest.approx(found[0, 0])
    assert found[0, 2] < 0 < found[2, 2] and found[2, 0] < 0


def test_a_step_is_worth_what_it_promises_and_its_effect_is_that_of_the_slopes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROMISE", 1e-3)  # so that curvature is all but nothing
    learner = make_learner(2).double().eval()  # whose batch statistics do not move after it was measured
    one = torch.arange(64) % 2
    columns = batch(one, one.roll(1))
    found = measured(learner, columns)
    halves = [{name: column[part] for name, column in columns.items()} for part in (slice(32), slice(32, None))]
    parameters = list(learner.rates)

    def slopes(half: dict[str, Tensor], number: int) -> tuple[float, Tensor]:
        loss = list(learner(**half).values())[1 + number]
        parts = torch.autograd.grad(loss, parameters)
        return loss.item(), torch.cat([part.flatten() for part in parts])

    for of in range(2):
        own, step = slopes(halves[0], of)
        for to in range(2):
            loss, slope = slopes(halves[1], to)
            expected = 1e-3 * own * (step @ slope / (step @ step)).item() / loss
            assert found[of, to] == pytest.approx(expected, rel=0.05, abs=2e-6)


def test_measuring_changes_nothing_about_the_training() -> None:
    one = torch.arange(32) % 2
    plain, measuring = make_learner(2), make_learner(2)
    before, random = copy.deepcopy(plain.state_dict()), torch.get_rng_state()
    measured(measuring, batch(one, one))
    assert torch.equal(random, torch.get_rng_state()) and all(part.training for part in measuring.modules())
    losses = plain(**batch(one, one)), measuring(**batch(one, one))
    measured_again = measuring(**batch(one, one))
    assert losses[0]["loss"] == losses[1]["loss"] == measured_again["loss"]
    parameters = dict(measuring.named_parameters())
    assert all(torch.equal(before[name], one) and one.grad is None for name, one in parameters.items())


def test_what_a_half_does_not_know_is_not_measured() -> None:
    one, other = torch.arange(32) % 2, torch.full((32,), MISSING)
    other[:16] = 1
    found = measured(make_learner(3), batch(one, other, torch.full((32,), MISSING)))
    # The second gives steps, of the half that has it, and its loss is told nowhere else; the third does neither.
    assert np.isfinite(found).tolist() == [[True, False, False], [True, False, False], [False] * 3]


def test_what_does_not_train_does_not_move_in_a_step() -> None:
    one = torch.arange(32) % 2
    found = {
        name: measured(make_learner(2, name), batch(one, 1 - one)) for name in ("all", "last_block", "layer_decay")
    }
    assert all(np.isfinite(table).all() for table in found.values())
    assert not np.allclose(found["all"], found["last_block"]) and not np.allclose(found["all"], found["layer_decay"])


def test_times_are_spread_over_a_training_and_go_on_after_a_stop() -> None:
    affinity, steps = Affinity(), []
    for step in range(100):
        affinity.begin_step(step / 100)
        if affinity.due:
            affinity.found.append([[0.0]])
            affinity.due = False
            steps.append(step)
        if step == 50:
            other = Affinity()
            other.load_state_dict(affinity.state_dict())
            affinity = other
    assert len(steps) == TIMES and steps[0] > 0 and set(np.diff(steps)) <= {12, 13}


def test_one_label_has_none_to_help() -> None:
    assert make_learner(1).affinity is None
