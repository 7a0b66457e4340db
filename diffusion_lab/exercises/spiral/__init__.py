"""Chapter 6, points on a spiral: flow matching, a multistep solver, and how to tell learning from memory."""

from diffusion_lab.exercises.record import Notebook
from diffusion_lab.exercises.spiral import (
    dpmpp_2m_step,
    energy_distance,
    euler_ode_step,
    flow_loss,
    flow_path,
    ideal_denoiser,
    nearest_train,
    shifted_times,
    velocity_to_score,
)
from diffusion_lab.exercises.spiral.slots import slots

RECALL = r"""
The points of this chapter lie along a spiral in the plane, with a little noise around it. There is no density to write
down, almost all of the plane is empty, and the way from noise to data must be bent. Two new things make it easier.

**Flow matching** joins each data point $x_0$ and a noise $\varepsilon$ by a straight line and asks the network for the
velocity along it:

$$x_t = (1 - t)\, x_0 + t\, \varepsilon, \qquad
L = \frac{1}{d} \left\lVert v_\theta(x_t, t) - \frac{\mathrm d x_t}{\mathrm d t} \right\rVert^2.$$

Time runs from data, $t = 0$, to noise, $t = 1$. Many lines cross at a point $x$, and the network learns the mean of
their velocities there. Walking against this mean field carries noise to data. It is no new model: on this path
$\alpha = 1 - t$ and $\sigma = t$, and the velocity, the noise, the clean data and the score can all be computed from
each other.

**A better solver** spends less on the same way. Euler's step has order 1: twice the steps, half the error.
DPM-Solver++(2M) counts in $\lambda = \log(\alpha / \sigma)$, treats the linear part of the flow exactly, and remembers
the last estimate of $x_0$. It has order 2, with one call of the network a step.

And there is a trap. For finitely many training points the *best possible* denoiser is known in closed form, and all
that it can produce is training points. A network is useful because it misses this optimum in the right way. So two
questions belong to every generator: are its samples distributed like the data, and are they new?

You will write

1. `flow_path`: a point of the straight path,
2. `flow_loss`: the loss of the velocity,
3. `euler_ode_step`: one step along the velocity,
4. `shifted_times`: where a sampler stops on its way,
5. `dpmpp_2m_step`: the step of second order,
6. `velocity_to_score`: from the field of this chapter to that of the earlier ones,
7. `ideal_denoiser`: the network that learned its training points by heart,
8. `nearest_train`: how far samples are from the training points,
9. `energy_distance`: how far two clouds of points are apart.

Pieces 1 and 4 are the schedule of the run, 2 trains its network and 5 draws its samples. The others are for looking at
what came out.
"""

CLOSING = r"""
Now the chapter runs with your pieces: `flow_path` and `shifted_times` are its schedule, `flow_loss` trains the network,
your `ema_update` of chapter 5 keeps its average, and `dpmpp_2m_step` draws the samples. All of them compute what the
reference computes, so expect the same picture and nearly the same scores. Look at the innermost turn, where the arms
are closest, and at points between the arms: they come from noise that could not decide. The mean distance to the clean
curve has a floor, the width of the noise around it. Then measure the samples with `energy_distance` and
`nearest_train`, and held-out points too, for comparison.
"""

NOTEBOOK = Notebook(
    chapter="spiral",
    recall=RECALL,
    exercises=(
        flow_path.EXERCISE,
        flow_loss.EXERCISE,
        euler_ode_step.EXERCISE,
        shifted_times.EXERCISE,
        dpmpp_2m_step.EXERCISE,
        velocity_to_score.EXERCISE,
        ideal_denoiser.EXERCISE,
        nearest_train.EXERCISE,
        energy_distance.EXERCISE,
    ),
    slots=slots,
    closing=CLOSING,
)
