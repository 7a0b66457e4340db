"""Chapter 7, small colour images: weights of levels, sampling that stays stable, evaluation."""

from diffusion_lab.exercises.cifar10 import (
    dynamic_threshold,
    frechet_distance,
    min_snr_weight,
    repaint_jump,
    rescale_zero_terminal_snr,
    weighted_loss,
)
from diffusion_lab.exercises.cifar10.slots import slots
from diffusion_lab.exercises.record import Notebook

RECALL = r"""
Colour images are where small faults of the method become visible: grey pictures, burnt-out colours, levels that are
never learned. This chapter mends them one by one.

**The last level.** The sampler starts from pure noise. The linear schedule ends at
$\sqrt{\bar\alpha_{T-1}} \approx .006$, which is not pure noise: a trace of the mean colour is left, the network relies
on it, and the sampler has none to give. So the schedule is rescaled until $\bar\alpha_{T-1} = 0$. With it goes the
target $\varepsilon$. At the last level $x = \varepsilon$, guessing it is no work, and
$x_0 = (x - \sqrt{1 - \bar\alpha}\, \varepsilon) / \sqrt{\bar\alpha}$ is 0 / 0. The target

$$v = \sqrt{\bar\alpha_t}\, \varepsilon - \sqrt{1 - \bar\alpha_t}\, x_0$$

is $-x_0$ there, and all that is to be known.

**How much a level counts.** With $\mathrm{SNR} = \bar\alpha / (1 - \bar\alpha)$, an error of $x_0$ is $\mathrm{SNR}$
times as large as a squared error of $\varepsilon$, and $\mathrm{SNR} + 1$ times as a squared error of $v$. Choosing a
target therefore chooses weights. Min-SNR chooses them openly: $\min(\mathrm{SNR}, \gamma)$ for the error of $x_0$. The
weight belongs to the sample's own error, before any mean over the batch.

**Staying in range.** Guidance exaggerates, and estimates of $x_0$ leave $[-1, 1]$. Dynamic thresholding brings each
image back by a quantile of its own, and the noise is computed again from $x_t$ and the new $x_0$.

**Filling in.** RePaint puts known pixels into a sample, goes up by fresh noise and comes down again, until both parts
agree.

**Judging.** One image tells little. The Fréchet distance compares crowds: means and covariances of features.

You will write:

1. `rescale_zero_terminal_snr`: the schedule.
2. `min_snr_weight`: a weight for each level and target.
3. `weighted_loss`: the loss of a v network with these weights.
4. `dynamic_threshold`: estimates in the range of images.
5. `repaint_jump`: up and down again.
6. `frechet_distance`: how far two crowds of images are apart.

1 to 3 make the training. 4 is used in each step of the sampler, between the network and the `ddim_step` of chapter 2. 5
wraps that step where pixels are known, and 6 looks at the result.
"""

CLOSING = r"""
The cell below trains a network on your schedule with your `weighted_loss` and `min_snr_weight`, and samples with your
`dynamic_threshold`. Step, guidance, dropped labels and averaged weights are yours from chapters 2 and 5, where you have
written them.

Look at the picture first: are there dark images and bright ones, or are all of a middling grey? The first shows that
the last level is pure noise. Then look at the Fréchet distance beside its floor, which is the distance of real images
to other real ones: no sampler gets below it. The share of samples of the class asked for tells whether guidance works.
"""

NOTEBOOK = Notebook(
    chapter="cifar10",
    recall=RECALL,
    exercises=(
        rescale_zero_terminal_snr.EXERCISE,
        min_snr_weight.EXERCISE,
        weighted_loss.EXERCISE,
        dynamic_threshold.EXERCISE,
        repaint_jump.EXERCISE,
        frechet_distance.EXERCISE,
    ),
    slots=slots,
    closing=CLOSING,
)
