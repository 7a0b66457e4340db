"""Chapter 13, satellite: spectra, latents, clouds, and bands that were not seen."""

from diffusion_lab.exercises.record import Notebook
from diffusion_lab.exercises.satellite import cloud_step, drowned_levels, hidden_bands, latent_loss, radial_power
from diffusion_lab.exercises.satellite.slots import slots

RECALL = r"""
A satellite's image is a tensor of shape $(B, C, H, W)$: here $64 \times 64$ pixels of 10 m, and three of the thirteen
bands of Sentinel-2, red, green and blue. Each image belongs to a class, such as forest, river or town.

**Generated landscapes.** Without real images the landscapes are drawn: every pixel mixes a few materials, each with its
reflectance in every band, and over them lies a texture whose power spectrum is known.

**Spectra.** The power at wave number $k$ says how strong shapes are that fit $k$ times across the image. Landscapes
have much power in coarse shapes and little in fine ones, white noise the same in all. So noise drowns the fine shapes
first.

**Latents.** An autoencoder maps each patch of $4 \times 4$ pixels to four numbers, and back: twelve times fewer. The
diffusion learns these numbers, at unit variance. What the autoencoder loses no diffusion gives back, so that is
measured by itself.

**Clouds and bands.** Where a cloud hides the ground, the rest of the image says what can be there. In the same way the
bands of a pixel that were seen say something of the others; for normally distributed data exactly what, one formula
knows.

You will write:

1. `radial_power`: how strong each wave number is.
2. `drowned_levels`: the noise level at which each goes under.
3. `latent_loss`: learning latents in the schedule's units.
4. `cloud_step`: a step that keeps what no cloud has touched.
5. `hidden_bands`: bands that were not seen, from those that were.
"""

CLOSING = r"""
The cell below trains an autoencoder, then a network on its latents with your `latent_loss`, and samples. Cosine
schedule and `ddim_step` are yours from chapter 2, dropped labels and averaged weights from chapter 5, where you have
written them.

In the picture compare fine detail first: what is blurred in all samples, the autoencoder has lost. Then look for lines
that break off, rivers and roads; those the diffusion has not learned yet. The scores tell the two apart.
"""

NOTEBOOK = Notebook(
    chapter="satellite",
    recall=RECALL,
    exercises=(
        radial_power.EXERCISE,
        drowned_levels.EXERCISE,
        latent_loss.EXERCISE,
        cloud_step.EXERCISE,
        hidden_bands.EXERCISE,
    ),
    slots=slots,
    closing=CLOSING,
)
