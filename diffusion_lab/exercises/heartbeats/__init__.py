"""Chapter 11, heartbeats: decibels, recorded noise, gaps, baselines, and beats that are found or missed."""

from diffusion_lab.exercises.heartbeats import (
    decibel_levels,
    matched_beats,
    noise_at_snr,
    observed_loss,
    wander_step,
)
from diffusion_lab.exercises.heartbeats.slots import slots
from diffusion_lab.exercises.record import Notebook

RECALL = r"""
An electrocardiogram is a voltage in millivolts, measured between electrodes on the skin: strips of shape $(B, C, L)$,
here $C = 2$ leads and $L = 512$ samples of four seconds. In the middle of each strip is a beat of one of three classes:
normal, supraventricular (it came too early) or ventricular (too early, wide, and with a pause after it).

**A model of the heart.** Without records of patients the strips come from a differential equation (McSharry and others,
2003): a point goes round once for each beat and pulls the voltage up or down at five angles, the waves P, Q, R, S and
T. Beats, classes and the clean signal are then known exactly.

**Decibels.** The quality of a recording is a ratio of powers, $10 \log_{10} (P_\text{signal} / P_\text{noise})$. Levels
that are even in decibels are even in log-SNR. Between beats the line is nearly flat, and little noise shows on it; so
the sampler's steps are even in decibels.

**Noise of a known kind.** White noise is what a network is trained on. What disturbs a real recording is something
else: a baseline that wanders with the breath, muscles, an electrode that moves. To measure what a method is worth, add
such noise to a clean strip at a ratio that you choose.

**Part of the recording is right.** Where a gap is, nothing is known, and the loss must not look there. Where a baseline
wanders, everything is known but a few slow curves. If the rows of $Q$ are orthonormal curves, $x\, Q^\top Q$ is the
part of $x$ along them: take the recording for the rest, and the network's guess for that part.

**Beats.** A cardiologist asks whether the beats are where they were. Pairs of true and found beats within 150 ms give
two shares: how many of the true ones were found, and how many of those found are true.

You will write:

1. `decibel_levels`: levels in even steps of decibels.
2. `noise_at_snr`: recorded noise at a ratio of your choice.
3. `observed_loss`: learning from strips with gaps.
4. `wander_step`: a step that leaves a recording as it is, but for its baseline.
5. `matched_beats`: beats that were found, missed, or imagined.

Nothing here says whether anybody is well. These numbers compare one set of strips with another.
"""

CLOSING = r"""
The cell below trains a network with your `observed_loss`, on strips without gaps, and samples with steps at your
`decibel_levels`. Cosine schedule and `ddim_step` are yours from chapter 2, dropped labels and averaged weights from
chapter 5, where you have written them.

In the picture look at the middle of each strip: the early beats come early, and the wide ones are wide. Then read the
scores. The judge is a small classifier trained on the real strips; it puts a share of your samples into the class that
you asked for. The gain by removing white noise stands beside that of the best linear filter, which knows the average
spectrum and nothing of beats.
"""

NOTEBOOK = Notebook(
    chapter="heartbeats",
    recall=RECALL,
    exercises=(
        decibel_levels.EXERCISE,
        noise_at_snr.EXERCISE,
        observed_loss.EXERCISE,
        wander_step.EXERCISE,
        matched_beats.EXERCISE,
    ),
    slots=slots,
    closing=CLOSING,
)
