"""From data back to the noise that gives it."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from diffusion_lab.denoisers import Denoiser
from diffusion_lab.schedules import Schedule


@torch.no_grad()
def invert(denoiser: Denoiser, schedule: Schedule, x0: Tensor, *, steps: int) -> Tensor:
    """Run DDIM upwards (Song et al. 2021a, section 4.3): the noise (B, *S) at t_max from which DDIM comes back to x0.

    The step from a level to a noisier one uses the prediction at the level where x is, the only one there is.
    The data are taken to be at t_min, where the noise is too small to matter.
    """
    times = schedule.times(steps).flip(0)[1:]  # from the cleanest trained level to the noisiest
    if times[0] > schedule.t_min:
        times = torch.cat([torch.tensor([schedule.t_min], dtype=times.dtype), times])
    levels = [schedule.at(t, like=x0) for t in times]
    x = x0 * levels[0].alpha
    for now, noisier in pairwise(levels):
        prediction = denoiser(x, now)
        x = noisier.alpha * prediction.x0 + noisier.sigma * prediction.eps
    return x
