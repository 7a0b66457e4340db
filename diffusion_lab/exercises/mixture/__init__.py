"""Chapter 3, a mixture of normals: score matching, Langevin dynamics, posterior means."""

from diffusion_lab.exercises.mixture import (
    dsm_loss,
    geometric_sigmas,
    gmm_score,
    langevin_step,
    responsibilities,
    tweedie,
)
from diffusion_lab.exercises.mixture.slots import slots
from diffusion_lab.exercises.record import Notebook

RECALL = r"""
Data with several modes: five normals on a circle, unequal in weight. Between the modes there are no data, and a sampler
must find all five in the right proportion. The mixture is still simple enough for everything to be known exactly.

**The score.** The score of a density is the gradient of its logarithm, $s(x) = \nabla_x \log p(x)$: a field of arrows
that point to where data are denser. It needs no normalising constant. Data without noise have a poor score, as far from
the modes there is nothing to learn it from. So noise is added at many levels,

$$x = x_0 + \sigma\, \varepsilon, \qquad \varepsilon \sim \mathcal N(0, I),$$

and one network learns the score at each of them. (In the notation of the chapters before, this is $x_t$ without the
shrinking: dividing $x$ by $\sqrt{1 + \sigma^2}$ gives the level $\bar\alpha = 1 / (1 + \sigma^2)$.)

**Learning it.** Nobody knows the score of the noisy data. But given $x_0$ it is $-\varepsilon / \sigma$, and the
network whose mean square error against *that* is smallest is the score itself: a mean over all $x_0$ that fit.

**Sampling with it.** A Langevin walk takes steps along the score and adds noise. At the largest $\sigma$ the modes are
one broad hill, and the walk finds its way at once; then $\sigma$ falls level by level, and the hill parts into the
modes.

**What is exact.** For a mixture, the probability that $x$ came from a component, the responsibility, is Bayes' rule;
the score is an average of the components' scores by these responsibilities; and the score gives the mean of the clean
data that fit, $\mathbb E[x_0 \mid x]$ (Tweedie).

You will write

1. `geometric_sigmas`, the levels;
2. `dsm_loss`, the loss that a score is learned by;
3. `langevin_step`, one step of the walk;
4. `responsibilities`, which mode $x$ came from;
5. `gmm_score`, the exact score, to compare the learned one with;
6. `tweedie`, the mean of the clean data.

The first three and the last are what the chapter's run is made of; 4 and 5 are the truth that it is measured by.
"""

CLOSING = r"""
Your `geometric_sigmas` set the levels for training and sampling, your `dsm_loss` trains the network, and at each level
the samples take twenty of your `langevin_step`s; your `tweedie` takes away what noise is left at the end. In the
picture, look at the gaps between the five modes, which should be nearly empty, and at the smallest mode. Of the
scores, read the total variation of the mode weights first: a sampler that loses a mode, or that makes all modes equal,
can still look right, and this number tells. Then compare the energy distance with that of an exact sample.
"""

NOTEBOOK = Notebook(
    chapter="mixture",
    recall=RECALL,
    exercises=(
        geometric_sigmas.EXERCISE,
        dsm_loss.EXERCISE,
        langevin_step.EXERCISE,
        responsibilities.EXERCISE,
        gmm_score.EXERCISE,
        tweedie.EXERCISE,
    ),
    slots=slots,
    closing=CLOSING,
)
