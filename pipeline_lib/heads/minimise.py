"""Many smooth problems of one size minimised side by side: L-BFGS (Liu 1989, doi:10.1007/BF01589116) over a batch.

G counts the problems, P the unknowns of each, M the steps that are remembered.
"""

from collections.abc import Callable

import torch
from torch import Tensor

MEMORY = 10
MOST_HALVINGS = 12
# Of the decrease that the slope promises, and what rounding may hide of it, as a share of the value.
SUFFICIENT, ROUNDING = 1e-4, 3e-7

# From the unknowns of some of the problems, [A, P], and their numbers, int64 [A], to values [A] and gradients [A, P].
Problems = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def minimise(problems: Problems, start_GP: Tensor, most_steps: int, tolerance: float) -> Tensor:
    """Return the unknowns that each problem ends with, ``[G, P]``.

    A problem is done when half the square of its gradient is below ``tolerance``, which is about how far its value is
    from the least one where its curvature is near 1 in all directions; when no step makes it smaller; or after
    ``most_steps``. Those that are done cost nothing any more.
    """
    x_GP = start_GP.clone()
    active_A = torch.arange(len(x_GP), device=x_GP.device)
    value_A, gradient_AP = problems(x_GP, active_A)
    steps_MAP, changes_MAP = (x_GP.new_empty(0, *x_GP.shape) for _ in range(2))
    for _ in range(most_steps):
        going_A = gradient_AP.square().sum(dim=1) > 2 * tolerance  # false where it is not a number
        active_A, value_A, gradient_AP = active_A[going_A], value_A[going_A], gradient_AP[going_A]
        steps_MAP, changes_MAP = steps_MAP[:, going_A], changes_MAP[:, going_A]
        if not len(active_A):
            break
        direction_AP = -_inverse_curvature(gradient_AP, steps_MAP, changes_MAP)
        before_AP = x_GP[active_A]
        found_AP, next_A, next_AP = _search(problems, active_A, before_AP, value_A, gradient_AP, direction_AP)
        x_GP[active_A] = found_AP
        steps_MAP = torch.cat([steps_MAP, (found_AP - before_AP)[None]])[-MEMORY:]
        changes_MAP = torch.cat([changes_MAP, (next_AP - gradient_AP)[None]])[-MEMORY:]
        # Where no step was found there is none to be found.
        next_AP = torch.where((found_AP == before_AP).all(dim=1, keepdim=True), 0.0, next_AP)
        value_A, gradient_AP = next_A, next_AP
    return x_GP


def _inverse_curvature(gradient_AP: Tensor, steps_MAP: Tensor, changes_MAP: Tensor) -> Tensor:
    """Return the inverse of the curvature, as the steps so far tell it, times the gradient: the two-loop recursion."""
    turned_AP, tiny = gradient_AP.clone(), torch.finfo(gradient_AP.dtype).tiny
    products_MA = (steps_MAP * changes_MAP).sum(dim=2)
    # A step along which the slope did not rise tells nothing.
    inverse_MA = torch.where(products_MA > tiny, 1 / products_MA, 0.0)
    shares: list[Tensor] = []
    for step_AP, change_AP, inverse_A in zip(steps_MAP.flip(0), changes_MAP.flip(0), inverse_MA.flip(0), strict=True):
        shares.append(inverse_A * (step_AP * turned_AP).sum(dim=1))
        turned_AP -= shares[-1][:, None] * change_AP
    if len(steps_MAP):
        scale_A = products_MA[-1] / changes_MAP[-1].square().sum(dim=1).clamp(min=tiny)
        turned_AP *= torch.where(products_MA[-1] > tiny, scale_A, 1.0)[:, None]
    for step_AP, change_AP, inverse_A in zip(steps_MAP, changes_MAP, inverse_MA, strict=True):
        share_A = shares.pop() - inverse_A * (change_AP * turned_AP).sum(dim=1)
        turned_AP += share_A[:, None] * step_AP
    return turned_AP


def _search(
    problems: Problems, active_A: Tensor, x_AP: Tensor, value_A: Tensor, gradient_AP: Tensor, direction_AP: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Halve each step until it makes its value smaller by enough; return where it ends, with value and gradient."""
    slope_A = (gradient_AP * direction_AP).sum(dim=1)
    found_AP, found_A, found_gradient_AP = x_AP.clone(), value_A.clone(), gradient_AP.clone()
    open_A, length = torch.arange(len(active_A), device=x_AP.device), 1.0
    for _ in range(MOST_HALVINGS):
        tried_AP = x_AP[open_A] + length * direction_AP[open_A]
        tried_A, tried_gradient_AP = problems(tried_AP, active_A[open_A])
        most_A = value_A[open_A] * (1 + ROUNDING) + SUFFICIENT * length * slope_A[open_A]
        enough_A = tried_A <= most_A  # false where it is not a number
        taken_A = open_A[enough_A]
        found_AP[taken_A], found_A[taken_A] = tried_AP[enough_A], tried_A[enough_A]
        found_gradient_AP[taken_A] = tried_gradient_AP[enough_A]
        open_A, length = open_A[~enough_A], length / 2
        if not len(open_A):
            break
    return found_AP, found_A, found_gradient_AP
