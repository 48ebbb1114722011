"""Heads fitted to features that do not change: a whole grid of penalties at once, the best by images held out.

N counts images, D features, K the outputs of a head, A or G the settings that are fitted side by side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from pipeline_lib.core.progress import track
from pipeline_lib.heads.minimise import Problems, minimise
from pipeline_lib.heads.model import MultiTask
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.cumulative_link import CumulativeLink
from pipeline_lib.labels.kind import MISSING, Kind
from pipeline_lib.stats.folds import folds_of

# Prices of half the squared weights beside the mean loss, for features whose mean variance is 1.
PENALTIES = tuple(10 ** (power / 4) for power in range(-20, 4))
# The one where no image is left to choose by.
GIVEN = PENALTIES[12]
FOLDS, MANY = 5, 2000
MOST_STEPS = 100
# Of the loss: to choose by, and in the end.
NEAR, CLOSE = 1e-6, 1e-8
# A first fit to one row of so many, where that leaves FEW, starts the one to all of them.
PART, FEW, ROUGH = 8, 1000, 1e-4
# About the curvature of the losses in what a head puts out, by which the unknowns are scaled.
CURVATURE = 0.25
# So many numbers that heads put out at a time stay in the processor's cache.
MOST_OUTPUTS = 2**19
# So many unknowns are sought at a time, of which some twenty copies are kept: 3 GB.
MOST_UNKNOWNS = 2**25


def choose_penalties(
    model: MultiTask,
    names: Sequence[str],
    features_ND: Tensor,
    encoded: Sequence[Tensor],
    folds_N: Tensor,
    class_weights: Mapping[str, Tensor] | None = None,
) -> dict[str, float]:
    """Return the penalty of each of the labels ``names``: the one of PENALTIES with which it is least wrong.

    That is its loss on the rows of each fold, from 0 on, after a fit to all other rows; rows of the fold -1 are never
    held out. ``features_ND`` are float32, on the device of the model; ``encoded`` are the values of each label, as
    :meth:`~pipeline_lib.labels.kind.Kind.encode` makes them; ``folds_N`` is int64; ``class_weights`` say by
    label what each class counts, if not all the same. The heads stay as they are. Where no fold leaves a value on
    either side the penalty is GIVEN, and features that are no numbers have none.
    """
    if not features_ND.isfinite().all():
        return {}
    space, penalties = _space(features_ND), {}
    for name, encoded_N in track(list(zip(names, encoded, strict=True)), "heads at every penalty", len(names)):
        problem, known_N = _problem(model, name, space, class_weights), has_value(encoded_N)
        total_G = features_ND.new_zeros(len(PENALTIES))
        for fold in range(int(folds_N.max()) + 1):
            fitted_N, judged_N = known_N & (folds_N != fold), known_N & (folds_N == fold)
            if fitted_N.any() and judged_N.any():
                heads = problem.fit(features_ND[fitted_N], encoded_N[fitted_N], PENALTIES, NEAR)
                total_G += judged_N.sum() * problem.losses(heads, features_ND[judged_N], encoded_N[judged_N])
        best = int(total_G.nan_to_num(torch.inf).argmin())
        penalties[name] = PENALTIES[best] if total_G.any() else GIVEN
    return penalties


def fit_heads(
    model: MultiTask,
    names: Sequence[str],
    features_ND: Tensor,
    encoded: Sequence[Tensor],
    penalties: Mapping[str, float],
    class_weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Fit heads in place to all rows, each of ``names`` at its penalty, if it has one.

    What they are given is what :func:`choose_penalties` is given and returns. A head stays as it is where its fit does
    not end in numbers.
    """
    space = _space(features_ND)
    for name, encoded_N in zip(names, encoded, strict=True):
        if name in penalties:
            problem, known_N = _problem(model, name, space, class_weights), has_value(encoded_N)
            problem.put(problem.fit(features_ND[known_N], encoded_N[known_N], [penalties[name]], CLOSE))


def held_out_folds(keys_N: np.ndarray, seed: int) -> Tensor:
    """Return the folds by which penalties are chosen, int64 ``[N]``: images of one key are in one of them.

    Of MANY images a fifth chooses, and fewer take turns.
    """
    folds_N = torch.from_numpy(folds_of(np.zeros(len(keys_N)), keys_N, seed, FOLDS))
    return folds_N if len(keys_N) < MANY else torch.where(folds_N > 0, -1, folds_N)


def has_value(encoded_N: Tensor) -> Tensor:
    """Say of each image whether it has a value, bool ``[N]``, as kinds encode it: MISSING or NaN stand for none."""
    has = ~encoded_N.isnan() if encoded_N.is_floating_point() else encoded_N != MISSING
    return has if has.ndim == 1 else has.any(dim=1)


@dataclass(frozen=True)
class _Space:
    """The space in which problems are solved: features are centred and divided by a scale, of mean variance 1 then.

    Attributes: ``mean`` ``[D]`` and ``scale`` of the features; ``directions`` ``[D, D]``, the principal ones, a column
    each, and the ``variances`` ``[D]`` along them.
    """

    mean: Tensor
    scale: Tensor
    directions: Tensor
    variances: Tensor


def _space(features_ND: Tensor) -> _Space:
    mean_D = features_ND.mean(dim=0)
    centred_ND = features_ND - mean_D
    covariance_DD = (centred_ND.T @ centred_ND / len(features_ND)).double()
    variance = covariance_DD.diagonal().mean()
    scale = variance.sqrt() if variance > 0 else torch.ones_like(variance)
    # Of images that are all equal nothing is finite that is divided by their spread.
    variances_D, directions_DD = torch.linalg.eigh((covariance_DD / scale**2).nan_to_num())
    kept = (scale, directions_DD, variances_D.clamp(min=0))
    return _Space(mean_D, *(one.to(features_ND) for one in kept))


def _problem(model: MultiTask, name: str, space: _Space, class_weights: Mapping[str, Tensor] | None) -> "_Problem":
    return _Problem(KINDS[model.specs[name]["kind"]], model.head(name), space, (class_weights or {}).get(name))


class _Problem:
    """The fit of one head, at several penalties side by side.

    What is known of the curvature scales the unknowns before anything is computed: weights live along the principal
    directions of the features, each divided by the root of what its variance and the penalty add up to.
    """

    def __init__(self, kind: Kind, head: nn.Module, space: _Space, weights_C: Tensor | None = None) -> None:
        self.kind, self.head, self.space, self.weights = kind, head, space, weights_C
        # Which parameters a shift of the features goes from and to, and whether the offset is added or taken off.
        of_link = isinstance(head, CumulativeLink)
        self.weight, self.offset, self.sign = ("direction.weight", "first", -1) if of_link else ("weight", "bias", 1)
        self.shapes = {name: one.shape for name, one in head.named_parameters()}

    def fit(
        self, features_ND: Tensor, encoded_N: Tensor, penalties: Sequence[float], tolerance: float
    ) -> dict[str, Tensor]:
        """Return the parameters of the heads, each ``[G, ...]``.

        All start where the head stands, but without weights: for features that are large its own are as good as any
        and far from all that are sought.
        """
        at_once = max(1, MOST_UNKNOWNS // sum(shape.numel() for shape in self.shapes.values()))
        parts = [
            self._fit(features_ND, encoded_N, penalties[first : first + at_once], tolerance)
            for first in range(0, len(penalties), at_once)
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _fit(
        self, features_ND: Tensor, encoded_N: Tensor, penalties: Sequence[float], tolerance: float
    ) -> dict[str, Tensor]:
        price_G = features_ND.new_tensor(penalties)
        stretch_GD = (CURVATURE * self.space.variances + price_G[:, None]).rsqrt()
        x_ND = (features_ND - self.space.mean) / self.space.scale
        start = {name: one.detach().expand(len(penalties), *one.shape) for name, one in self.head.named_parameters()}
        start[self.weight] = torch.zeros_like(start[self.weight])
        unknown_GP = self._flat(self._inside(start), 1 / stretch_GD, CURVATURE**0.5)
        for step, near in ((PART, ROUGH), (1, tolerance)):
            if step == 1 or len(x_ND) >= PART * FEW:
                problems = self._problems(x_ND[::step], encoded_N[::step], price_G, stretch_GD)
                unknown_GP = minimise(problems, unknown_GP, MOST_STEPS, near)
        return self._outside(self._heads(unknown_GP, stretch_GD))

    def losses(self, heads: Mapping[str, Tensor], features_ND: Tensor, encoded_N: Tensor) -> Tensor:
        """Return the mean loss of each head, ``[G]``, 0 without rows, and add up gradients where heads want them."""
        num, num_outputs = heads[self.weight].shape[:2]
        loss_G = features_ND.new_zeros(num)
        rows = max(1, MOST_OUTPUTS // (num * num_outputs))
        for x_BD, encoded_B in zip(torch.split(features_ND, rows), torch.split(encoded_N, rows), strict=True):
            part_G = self.kind.losses(self._outputs(heads, x_BD), encoded_B, self.weights)
            part_G = part_G * (len(x_BD) / max(len(features_ND), 1))
            if part_G.requires_grad:
                part_G.sum().backward()  # type: ignore[no-untyped-call]
            loss_G += part_G.detach()
        return loss_G

    def put(self, heads: Mapping[str, Tensor]) -> None:
        """Give the head the parameters of the first of ``heads``, if they are numbers."""
        if all(bool(one[0].isfinite().all()) for one in heads.values()):
            self.head.load_state_dict({name: one[0] for name, one in heads.items()})

    def _problems(self, x_ND: Tensor, encoded_N: Tensor, price_G: Tensor, stretch_GD: Tensor) -> Problems:
        def problems(unknown_AP: Tensor, which_A: Tensor) -> tuple[Tensor, Tensor]:
            price_A, stretch_AD = price_G[which_A], stretch_GD[which_A]
            heads = {name: one.requires_grad_() for name, one in self._heads(unknown_AP, stretch_AD).items()}
            loss_A = self.losses(heads, x_ND, encoded_N)
            weight_AKD = heads[self.weight].detach()
            slopes = {name: torch.zeros_like(one) if one.grad is None else one.grad for name, one in heads.items()}
            slopes[self.weight] += price_A[:, None, None] * weight_AKD
            value_A = loss_A + price_A / 2 * weight_AKD.square().sum(dim=(1, 2))
            return value_A, self._flat(slopes, stretch_AD, CURVATURE**-0.5)

        return problems

    def _outputs(self, heads: Mapping[str, Tensor], x_BD: Tensor) -> Tensor:
        """Return what each head puts out, ``[A, K, B]``."""
        if isinstance(self.head, nn.Linear):
            # One product for all heads, which is as fast as the machine is.
            products_CB = heads["weight"].flatten(0, 1) @ x_BD.T
            return products_CB.view(*heads["bias"].shape, -1) + heads["bias"][:, :, None]
        outputs_ABK: Tensor = vmap(lambda one: functional_call(self.head, one, (x_BD,)))(dict(heads))
        return outputs_ABK.mT

    def _flat(self, heads: Mapping[str, Tensor], along_AD: Tensor, other: float) -> Tensor:
        """Return heads, or slopes, as vectors ``[A, P]``: the weights times a factor along each direction."""
        weights = {self.weight: (heads[self.weight] @ self.space.directions) * along_AD[:, None]}
        parts = {name: heads[name] * other for name in self.shapes} | weights
        return torch.cat([part.flatten(1) for part in parts.values()], dim=1)

    def _heads(self, unknown_AP: Tensor, stretch_AD: Tensor) -> dict[str, Tensor]:
        """Return the parameters, ``[A, ...]``, that unknowns stand for."""
        parts = torch.split(unknown_AP, [shape.numel() for shape in self.shapes.values()], dim=1)
        heads = {
            name: part.reshape(-1, *shape) * CURVATURE**-0.5
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }
        weight_AKD = (heads[self.weight] * CURVATURE**0.5 * stretch_AD[:, None]) @ self.space.directions.T
        return {**heads, self.weight: weight_AKD}

    def _inside(self, heads: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return heads for centred and scaled features that put out what these do for the features themselves."""
        shift = heads[self.weight] @ self.space.mean
        offset, weight = heads[self.offset] + self.sign * shift, heads[self.weight] * self.space.scale
        return {**heads, self.offset: offset, self.weight: weight}

    def _outside(self, heads: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what :meth:`_inside` was given."""
        weight = heads[self.weight] / self.space.scale
        offset = heads[self.offset] - self.sign * (weight @ self.space.mean)
        return {**heads, self.offset: offset, self.weight: weight}
