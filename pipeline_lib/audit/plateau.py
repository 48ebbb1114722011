"""How many labels are wrong, told apart from classes that look alike: by where neighbours of one mind are contradicted.

Where classes look alike, an image's neighbours disagree with its label less and less the more of them are of one mind.
A label that is simply wrong contradicts them however sure they are: its share is the plateau on which that curve ends.
Errors that all classes have alike show best; those of one class alone are taken for classes that look alike.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

# Squared, so that small shares are told apart finely.
RATES = np.linspace(0, np.sqrt(0.5), 81) ** 2
# Labels that more than so many images contradict are not wrong: the images do not show them.
MOST_RATE = 0.4
# Of neighbours that are right as often as they agree, 1 - votes / num_votes are contradicted, with a slope of 4 in the
# middle and steeper ends.
STEEPNESS = np.geomspace(3, 60, 50)
# Where half of the labels contradict, as a share of the votes.
MIDDLES = np.linspace(-0.5, 1.5, 81)
# Twice the log-likelihood that a share of none has to lose before wrong labels are believed in: once in 100 by chance.
EVIDENCE = 5.4


@dataclass(frozen=True)
class Plateau:
    """The share of wrong labels, its lower end, and the share of right ones of the contradicted, by votes ``[K + 1]``.

    ``low`` is 0 where classes that look alike explain all of it.
    """

    rate: float
    low: float
    false_by_votes: np.ndarray


def plateau(votes_N: np.ndarray, contradicted_N: np.ndarray, num_votes: int) -> Plateau:
    """Fit P(contradicted | votes) = rate + (1 - rate) / (1 + exp(s (votes / num_votes - m))) by maximum likelihood.

    ``votes_N`` says how many of ``num_votes`` neighbours are of the class that most of them have, ``contradicted_N``
    whether the label is another. The second term is of labels that are right, of images between classes. All three
    numbers are sought on a grid, because the likelihood has several peaks.
    """
    votes_V = np.arange(num_votes + 1)
    total_V = np.bincount(votes_N, minlength=num_votes + 1)
    against_V = np.bincount(votes_N, weights=contradicted_N, minlength=num_votes + 1)
    alike = expit(-STEEPNESS[:, None, None] * (votes_V / num_votes - MIDDLES[:, None]))  # [S, M, V]
    likelihoods = np.empty((len(RATES), alike.shape[0] * alike.shape[1]))
    seen = total_V > 0
    for row, rate in enumerate(RATES):
        chance = (rate + (1 - rate) * alike[..., seen]).clip(1e-9, 1 - 1e-9).reshape(-1, seen.sum())
        likelihoods[row] = np.log(chance) @ against_V[seen] + np.log1p(-chance) @ (total_V - against_V)[seen]
    of_rate = likelihoods.max(axis=1)
    best = int(of_rate.argmax())
    if RATES[best] > MOST_RATE:
        return Plateau(0.0, 0.0, np.ones(num_votes + 1))
    plausible = np.flatnonzero(2 * (of_rate[best] - of_rate) <= EVIDENCE)
    right_V = alike.reshape(-1, num_votes + 1)[likelihoods[best].argmax()] * (1 - RATES[best])
    return Plateau(float(RATES[best]), float(RATES[plausible[0]]), right_V / (RATES[best] + right_V))
