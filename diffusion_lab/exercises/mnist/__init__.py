"""Chapter 5, handwritten digits: image networks, class conditioning, guidance, averaged weights."""

from diffusion_lab.exercises.mnist import (
    denoise_digits,
    drop_labels,
    ema_update,
    extract,
    guided_eps,
    simple_loss,
    strided_times,
    timestep_embedding,
)
from diffusion_lab.exercises.mnist.slots import slots
from diffusion_lab.exercises.record import Notebook

RECALL = r"""
No formula is known for the density of handwritten digits, and a network has to learn it from pictures. The mathematics
stays that of the first chapters. What is new is the craft around it.

**Shapes.** Each picture $x$ of a batch $(B, C, H, W)$ has a step $t$ of its own, and the factors $\sqrt{\bar\alpha_t}$
and $\sqrt{1 - \bar\alpha_t}$ of shape $(B,)$ must line up with the batch and not with the width.

**Training.** Pixels come in $[0, 1]$ and go to $[-1, 1]$, on both sides of 0 and as large as the noise. A step is drawn
for each picture, and the network guesses $v = \sqrt{\bar\alpha_t}\, \varepsilon - \sqrt{1 - \bar\alpha_t}\, x_0$. It
reads $t$ as waves $\sin \omega_i t$, $\cos \omega_i t$, from fast to slow. Beside it runs a slow average of its
weights, $\bar\theta \leftarrow \gamma \bar\theta + (1 - \gamma) \theta$, and samples are drawn from the average.

**Labels.** The network also reads which digit $y$ it is. In one of ten cases the label is replaced by one that means
"none", $\varnothing$. So one network learns two guesses, $\varepsilon_y$ and $\varepsilon_\varnothing$. While sampling,
guidance goes from the second to the first and beyond,
$\hat\varepsilon = \varepsilon_\varnothing + s\, (\varepsilon_y - \varepsilon_\varnothing)$. With $s > 1$ digits are
clearer and less varied.

**Fewer steps.** A deterministic sampler needs only some of the 1000 steps: 25 or 50 of them, at equal distances.

You will write:

1. `extract`: one number of a table for each picture, in a shape that multiplies pictures.
2. `simple_loss`: from pixels in a file to the loss of each picture.
3. `drop_labels`: forget some of the labels.
4. `timestep_embedding`: the step as waves.
5. `ema_update`: the next state of the averaged network.
6. `strided_times`: the steps that a short sampler visits.
7. `guided_eps`: guidance.
8. `denoise_digits`: the clean picture behind a noisy one.

2 and 3 make the training, 4 is inside the network, and 5 comes after each step of the optimiser. In sampling, 6 says
where to go, 1 helps to turn $v$ into $\varepsilon$, and 7 combines the two guesses. The step itself is the `ddim_step`
of chapter 2. With 8 the network is used for what it was trained to do: to take noise away.
"""

CLOSING = r"""
The cell below trains a network that reads time through your `timestep_embedding`, with your `simple_loss`,
`drop_labels` and `ema_update`. It samples at your `strided_times` with your `guided_eps`. Schedule and step are
your own from chapter 2, where you have written them.

Look first at the share of samples of the class asked for: without working labels it is one in ten. The figure of
denoising shows the task of `denoise_digits` on held-out digits, at three strengths of noise. Beside the network's
estimate stands the best one for the training digits. It knows these and no others, so what it shows in strong noise is
one of them; the network has to generalise, and its estimate blurs where several digits fit.
"""

NOTEBOOK = Notebook(
    chapter="mnist",
    recall=RECALL,
    exercises=(
        extract.EXERCISE,
        simple_loss.EXERCISE,
        drop_labels.EXERCISE,
        timestep_embedding.EXERCISE,
        ema_update.EXERCISE,
        strided_times.EXERCISE,
        guided_eps.EXERCISE,
        denoise_digits.EXERCISE,
    ),
    slots=slots,
    closing=CLOSING,
)
