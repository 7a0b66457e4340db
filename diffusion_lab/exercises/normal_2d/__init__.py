"""Chapter 2, a correlated normal distribution in two dimensions: covariance, targets, deterministic sampling."""

from diffusion_lab.exercises.normal_2d import convert, cosine_alpha_bar, ddim_step, score_2d, v_loss
from diffusion_lab.exercises.normal_2d.slots import slots
from diffusion_lab.exercises.record import Notebook

RECALL = r"""
The data are now points in the plane, drawn from a normal distribution whose two coordinates are correlated: a thin,
tilted ellipse. Everything is still known exactly, and three choices of chapter 1 are made anew: how fast noise grows,
what the network is asked, and whether sampling is random.

**Covariance.** Noise is round and data are not. At level $t$ the covariance is $C_t = \bar\alpha_t C + (1 -
\bar\alpha_t) I$, and the score is $-C_t^{-1} (x - \sqrt{\bar\alpha_t}\, m)$. Along each axis of the ellipse this is
chapter 1 again, with a variance $V_t = \bar\alpha_t V + 1 - \bar\alpha_t$ of its own.

**Schedule.** Linear betas spend many steps where nothing but noise is left. The cosine schedule gives $\bar\alpha_t$
itself as a squared cosine, so that data fade evenly.

**Targets.** The network may guess $\varepsilon$, $x_0$ or $v = \sqrt{\bar\alpha_t}\, \varepsilon - \sqrt{1 -
\bar\alpha_t}\, x_0$. With $x_t$ known, each of them gives the others. But they are not equally easy: to find $x_0$ from
$\varepsilon$ you divide by $\sqrt{\bar\alpha_t}$, which is nearly 0 at the end of the path. From $v$ there is no
division at all.

**Sampling.** A step back can leave the random part out. The estimate of $x_0$ is put back to a cleaner level $s$ with
the same guessed noise, and the way from noise to data becomes a map: the probability flow. For normal data this map is
known. Along each axis it scales the deviation from the mean by $\sqrt{V_s / V_t}$.

You will write:

1. `cosine_alpha_bar`: the schedule.
2. `score_2d`: the exact score of the ellipse.
3. `convert`: from any of $\varepsilon$, $x_0$, $v$ to any other.
4. `v_loss`: the loss of a network that guesses $v$.
5. `ddim_step`: a step to any cleaner level, with as much noise as you like.

1 and 4 make the training. In sampling, 3 turns the network's $v$ into $\varepsilon$, and 5 takes the step. 2 is the
truth.

In formulas, $\alpha = \sqrt{\bar\alpha_t}$ and $\sigma = \sqrt{1 - \bar\alpha_t}$ are the factors of data and noise;
their squares add up to 1.
"""

CLOSING = r"""
The cell below trains a network to guess $v$ on the levels of your `cosine_alpha_bar`, with your `v_loss`. It then
samples with your `convert` and `ddim_step`, without any fresh noise. Wherever a piece is not yet yours, the course's
own stands in.

Look at the ellipse: its tilt and its width across. A score that ignores the correlation would make it round. The
Wasserstein-2 distance beside the picture should be near the one that samples of the truth have; your samples start from
the same noise as the reference's, so both should find nearly the same points.
"""

NOTEBOOK = Notebook(
    chapter="normal_2d",
    recall=RECALL,
    exercises=(
        cosine_alpha_bar.EXERCISE,
        score_2d.EXERCISE,
        convert.EXERCISE,
        v_loss.EXERCISE,
        ddim_step.EXERCISE,
    ),
    slots=slots,
    closing=CLOSING,
)
