"""Chapter 4, a normal distribution in many dimensions: EDM, the order of a solver, filling in, distances."""

from diffusion_lab.exercises.normal_nd import (
    edm_loss,
    edm_preconditioning,
    gaussian_w2,
    heun_step,
    inpaint_step,
    karras_sigmas,
)
from diffusion_lab.exercises.normal_nd.slots import slots
from diffusion_lab.exercises.record import Notebook

RECALL = r"""
Sixteen entries in a row, each correlated 0.9 with its neighbours. The distribution is still normal, so its exact
denoiser and its exact path from noise to data are known, and a sampler's error can be measured instead of looked at.

**The path.** As in chapter 3 the data are not shrunk: $x = x_0 + \sigma\, \varepsilon$, from $\sigma_{\max} = 80$ down
to 0. A denoiser $D(x, \sigma)$ guesses $x_0$. Samples follow the probability-flow path, which needs no fresh noise:

$$\frac{\mathrm d x}{\mathrm d \sigma} = \frac{x - D(x, \sigma)}{\sigma}.$$

**What the network does.** Written as $D = c_{\text{skip}}\, x + c_{\text{out}}\, F(c_{\text{in}}\, x,
c_{\text{noise}})$, the network $F$ has inputs and targets of variance 1 at every level, and with the weight $1 /
c_{\text{out}}^2$ every level counts the same in the loss. At small noise $D$ is nearly $x$ itself; at large noise it
is all up to $F$.

**The steps.** Two things decide what $n$ steps can do: where they are put, and the order of the solver. An error that
falls like $n^{-p}$ is a straight line of slope $-p$ in a plot of log error against log steps. Euler's step has $p =
1$, Heun's $p = 2$, at two network evaluations a step.

**The distance.** Between two normals the 2-Wasserstein distance has a closed form; it needs the square root of a
matrix, which is not the root of its entries.

**Filling in.** When some entries are observed, a model of whole data can be made to fill in the rest by putting the
observation back at each level. It looks like conditioning, and it is not: for a normal the exact answer is known.

You will write

1. `karras_sigmas`, the levels;
2. `edm_preconditioning`, the four factors;
3. `edm_loss`, the loss that uses them;
4. `heun_step`, a step of second order;
5. `gaussian_w2`, the distance that scores the samples;
6. `inpaint_step`, putting the observation back.

The first four make up the chapter's run. The fifth is its main score, and the sixth is tried on a run of its own.
"""

CLOSING = r"""
Your `karras_sigmas` place the steps, your `edm_preconditioning` stands around the network, in training through your
`edm_loss` and in sampling, and your `heun_step` follows the path. Of the scores read the 2-Wasserstein distance first:
beside it stands what an exact sample of the same size scores, and no sampler can be expected to stay below that. In
the picture, neighbouring entries should move together. Then try Euler's step in place of yours, with twice as many
steps, so that both ask the network equally often. Against the exact denoiser Euler is still a little ahead of ten Heun
steps; of twenty it has twice the error, of forty four times. An order is a promise about many steps.
"""

NOTEBOOK = Notebook(
    chapter="normal_nd",
    recall=RECALL,
    exercises=(
        karras_sigmas.EXERCISE,
        edm_preconditioning.EXERCISE,
        edm_loss.EXERCISE,
        heun_step.EXERCISE,
        gaussian_w2.EXERCISE,
        inpaint_step.EXERCISE,
    ),
    slots=slots,
    closing=CLOSING,
)
