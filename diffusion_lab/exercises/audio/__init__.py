"""Chapter 8, sounds as time series: spectra, noise removal, inversion."""

from diffusion_lab.exercises.audio import (
    band_snr,
    ddim_invert_step,
    denoise_from,
    multiresolution_stft_loss,
    shift_log_snr,
    slerp,
)
from diffusion_lab.exercises.audio.slots import slots
from diffusion_lab.exercises.record import Notebook

RECALL = r"""
A sound is a row of numbers $x$ of shape $(B, 1, L)$, and the method is that of images. What is new is how sounds are
looked at: through their spectrum.

**Length.** Neighbouring samples of a long signal say much the same. Whoever averages $k$ of them divides the variance
of white noise by $k$ and keeps the sound. So with $\mathrm{SNR} = \bar\alpha / (1 - \bar\alpha)$ a schedule for $L$
samples needs

$$\log \mathrm{SNR}' = \log \mathrm{SNR} + \log (L_\mathrm{ref} / L).$$

**Bands.** White noise has the same power at every frequency, and speech has most of its power in the low ones. At one
level a voice may stand far above the noise while its hiss is lost in it. Noise takes a sound apart from the fine to the
coarse, and sampling builds it up from the coarse to the fine.

**What is heard.** Phases are hardly heard, and a square error of waveforms is full of them. The loss gets a second
term, on the magnitudes of short-time spectra.

**The curve.** DDIM without noise is a curve from noise to sound. Walked upwards it finds the noise of a given sound,
with $\hat\varepsilon$ asked at the level where $x$ is. Two such noises can be mixed, on the sphere and not on the
straight line, and walked down again.

**Noise removal.** A recording $y = x_0 + \sigma z$ is on this curve as well: $\sqrt{\bar\alpha_t}\, y$ is a sample of
the level with $\bar\alpha_t / (1 - \bar\alpha_t) = 1 / \sigma^2$. Walk down from there. The best linear filter, that of
Wiener, keeps the share $P(f) / (P(f) + \sigma^2)$ of each frequency, and it is what to beat.

You will write:

1. `shift_log_snr`: the schedule for signals of another length.
2. `band_snr`: what is left of each frequency at each level.
3. `multiresolution_stft_loss`: a loss that hears.
4. `ddim_invert_step`: from a sound towards its noise.
5. `slerp`: between two noises.
6. `denoise_from`: noise removal at a known level.

1 and 3 make the training, beside the `v_loss` of chapter 2. With 2 you see what the schedule does to speech. 4, 5 and 6
use the trained network in other ways than drawing samples.
"""

CLOSING = r"""
The cell below trains a network on your shifted schedule, with your `multiresolution_stft_loss` beside the loss of $v$,
and samples spoken digits. Cosine schedule, `v_loss` and `ddim_step` are yours from chapter 2, dropped labels and
averaged weights from chapter 5, where you have written them.

Look at the spectra of the samples beside those of speech: the low bands come out first, as your `band_snr` says. The
score to look at is the gain in SI-SDR by removing noise. It stands beside the gain of the Wiener filter; a network that
has learned more than the average spectrum passes it. The quick run is short, and the full one sounds better.
"""

NOTEBOOK = Notebook(
    chapter="audio",
    recall=RECALL,
    exercises=(
        shift_log_snr.EXERCISE,
        band_snr.EXERCISE,
        multiresolution_stft_loss.EXERCISE,
        ddim_invert_step.EXERCISE,
        slerp.EXERCISE,
        denoise_from.EXERCISE,
    ),
    slots=slots,
    closing=CLOSING,
)
