"""Chapter 1, a normal distribution in one dimension: forward process, score, ancestral sampling."""

from diffusion_lab.exercises.normal_1d import (
    alpha_bar,
    ddpm_step,
    eps_loss,
    linear_betas,
    loss_floor,
    optimal_eps,
    optimal_score,
    q_sample,
)
from diffusion_lab.exercises.normal_1d.slots import slots
from diffusion_lab.exercises.record import Notebook

RECALL = r"""
Noise is added to data in many small steps until nothing of them is left, and a network learns to take it away again.
The data of this chapter are single numbers from a normal distribution, $x_0 \sim \mathcal N(m, s^2)$. That is the one
case in which everything that the network learns is also known exactly, so nothing has to be believed.

**Forward.** Step $t = 0, \dots, T - 1$ keeps the share $1 - \beta_t$ of the variance and adds $\beta_t$ of noise. Steps
multiply: after all steps up to $t$ the share $\bar\alpha_t = \prod_{i \le t} (1 - \beta_i)$ of the data is left, and

$$x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1 - \bar\alpha_t}\; \varepsilon, \qquad \varepsilon \sim \mathcal N(0, 1).$$

Shares are variances; numbers are multiplied by their square roots.

**What is learned.** The network sees $x_t$ and $t$ and guesses $\varepsilon$. The square error makes it learn the mean
of all noises that fit, $\mathbb E[\varepsilon \mid x_t]$, which is the score in other units: $\nabla \log p_t(x) =
-\mathbb E[\varepsilon \mid x] / \sqrt{1 - \bar\alpha_t}$. Many pairs of data and noise make the same $x_t$, so even the
best guess has an error. The loss has a floor above zero.

**Back.** One step from $t$ to $t - 1$ takes away the share of the guessed noise that step $t$ has added, and adds a
little fresh noise. From pure noise, $T$ such steps lead to a new sample.

You will write:

1. `linear_betas`: how much noise each step adds.
2. `alpha_bar`: how much of the data is left after step $t$.
3. `q_sample`: from $x_0$ to $x_t$ in one jump.
4. `optimal_eps`: what a perfect network answers for normal data.
5. `optimal_score`: the same as a direction, the slope of the log-density.
6. `eps_loss`: how wrong a network's guess is, sample by sample.
7. `loss_floor`: the loss of the perfect network, for three things that it could be asked to guess.
8. `ddpm_step`: one step back.

1 and 2 make the schedule, 3 and 6 the training, 8 the sampler. 4, 5 and 7 are the truth by which you judge them.

All functions work on batches of data of any shape `(B, *S)`, with a step `t` of shape `(B,)` for each sample. No
function draws random numbers: noise is handed in, so that two right answers agree to the last digits.
"""

CLOSING = r"""
The cell below trains a small network with your `eps_loss` on the levels of your `linear_betas` and `alpha_bar`, and
draws samples with your `ddpm_step`. Wherever a piece is not yet yours, the course's own stands in.

Look at three things. The histogram should lie on the normal curve, and its Wasserstein-2 distance should be near the
one that samples of the truth itself have. The final loss stays far above zero: compare it with the mean of your
`loss_floor` over all levels. The two scores, yours and the reference's, should agree in all their digits but the last.
"""

NOTEBOOK = Notebook(
    chapter="normal_1d",
    recall=RECALL,
    exercises=(
        linear_betas.EXERCISE,
        alpha_bar.EXERCISE,
        q_sample.EXERCISE,
        optimal_eps.EXERCISE,
        optimal_score.EXERCISE,
        eps_loss.EXERCISE,
        loss_floor.EXERCISE,
        ddpm_step.EXERCISE,
    ),
    slots=slots,
    closing=CLOSING,
)
