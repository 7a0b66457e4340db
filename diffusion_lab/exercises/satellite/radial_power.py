"""radial_power: how strong each wave number of an image is, whatever its direction."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def radial_power(images: Tensor) -> Tensor:
    """The mean power of images at each whole wave number.

    Args:
        images: (N, H, H), one band of each image; H is even and at least 4.

    Returns:
        (H / 2 + 1,): for k = 0..H/2 the mean of |F|^2 / H^2 over the images and all frequencies whose distance from 0,
        in waves across the image, is nearest to k. F is the two-dimensional discrete Fourier transform. Frequencies
        further out, in the corners, belong to no k.
    """
    side = images.shape[-1]
    power = torch.fft.fft2(images).abs().square().mean(dim=0) / side**2
    k = torch.fft.fftfreq(side, 1 / side, dtype=images.dtype)
    ring = torch.hypot(k[:, None], k[None]).round()
    return torch.stack([power[ring == number].mean() for number in range(side // 2 + 1)])


def _rings(side, dtype):
    k = torch.fft.fftfreq(side, 1 / side, dtype=dtype)
    return torch.hypot(k[:, None], k[None])


def _power(images):
    return torch.fft.fft2(images).abs().square().mean(dim=0) / images.shape[-1] ** 2


def _means(power, ring):
    return torch.stack([power[ring == number].mean() for number in range(len(power) // 2 + 1)])


def amplitudes_averaged(images):
    """The amplitudes |F| were averaged and not their squares. Powers add up where waves have nothing to do with each
    other; amplitudes do not."""
    side = images.shape[-1]
    return _means(torch.fft.fft2(images).abs().mean(dim=0) / side, _rings(side, images.dtype).round())


def images_averaged_first(images):
    """The images were averaged before their transform was taken, so that what differs from image to image is lost. Take
    the power of each, then the mean."""
    return _means(_power(images.mean(dim=0, keepdim=True)), _rings(images.shape[-1], images.dtype).round())


def summed_over_the_ring(images):
    """The power of a ring was summed. Outer rings have more frequencies: take the mean, so that white noise is flat."""
    power, ring = _power(images), _rings(images.shape[-1], images.dtype).round()
    return torch.stack([power[ring == number].sum() for number in range(len(power) // 2 + 1)])


def not_divided(images):
    """The power was not divided by the number of pixels. |F|^2 grows with it: divide by H^2, and white noise has its
    variance everywhere."""
    return _means(_power(images) * images.shape[-1] ** 2, _rings(images.shape[-1], images.dtype).round())


def divided_by_the_side(images):
    """The power was divided by H. There are H^2 pixels."""
    return _means(_power(images) * images.shape[-1], _rings(images.shape[-1], images.dtype).round())


def divided_twice(images):
    """The power was divided by H^4, as if F were a mean. torch's transform is a sum: |F|^2 grows with the number of
    pixels, which is H^2."""
    return _means(_power(images) / images.shape[-1] ** 2, _rings(images.shape[-1], images.dtype).round())


def zero_not_in_the_corner(images):
    """The rings were drawn around the middle of the transform. Without fftshift frequency 0 stands in the corner, and
    the negative ones follow the positive."""
    side = images.shape[-1]
    k = torch.arange(side, dtype=images.dtype) - side // 2
    return _means(_power(images), torch.hypot(k[:, None], k[None]).round())


def negative_frequencies_far_out(images):
    """Frequencies were numbered 0 to H - 1. From H / 2 on they are negative: the last one is -1, next to 0."""
    side = images.shape[-1]
    k = torch.arange(side, dtype=images.dtype)
    return _means(_power(images), torch.hypot(k[:, None], k[None]).round())


def rounded_down(images):
    """The distance was rounded down. A frequency belongs to the nearest whole k."""
    return _means(_power(images), _rings(images.shape[-1], images.dtype).floor())


def squares_for_rings(images):
    """The larger of the two wave numbers was taken for the distance, so the rings are squares. The distance is the
    hypotenuse: no direction is then preferred."""
    side = images.shape[-1]
    k = torch.fft.fftfreq(side, 1 / side, dtype=images.dtype).abs()
    return _means(_power(images), torch.maximum(k[:, None], k[None]))


def one_direction_only(images):
    """Only waves along the rows were counted. All directions belong to a ring."""
    side = images.shape[-1]
    return _power(images)[0, : side // 2 + 1]


def one_dimension_only(images):
    """The transform was taken along the rows alone. Images have two directions: `torch.fft.fft2`."""
    side = images.shape[-1]
    return torch.fft.fft(images).abs().square().mean(dim=(0, 1))[: side // 2 + 1] / side


def mean_of_the_image_taken_off(images):
    """The mean of each image was taken off. It is what stands at k = 0, and it is asked for."""
    return radial_power(images - images.mean(dim=(1, 2), keepdim=True))


def last_ring_missing(images):
    """The rings end before H / 2, the finest wave that fits along a row. k runs from 0 to H / 2, both included."""
    return radial_power(images)[:-1]


def by_bincount(images):
    side = images.shape[-1]
    ring = _rings(side, torch.float64).round().long().flatten()
    power = _power(images).flatten()
    sums = torch.zeros(int(ring.max()) + 1, dtype=power.dtype).index_add(0, ring, power)
    return (sums / torch.bincount(ring))[: side // 2 + 1]


def orthonormal(images):
    side = images.shape[-1]
    found = torch.fft.fftshift(torch.fft.fft2(images, norm="ortho"), dim=(1, 2))
    power = (found.real**2 + found.imag**2).mean(dim=0)
    k = torch.arange(-side // 2, side // 2, dtype=torch.float64)
    distance = (k[:, None] ** 2 + k**2).sqrt()
    return torch.stack([power[(distance - n).abs() < 0.5].mean() for n in range(side // 2 + 1)])


def image_by_image(images):
    return torch.stack([by_bincount(image[None]) for image in images]).mean(dim=0)


def cases(draw: Draw):
    for label, count, side in (
        ("several images", draw.integer(3, 6), 2 * draw.integer(5, 8)),
        ("one image", 1, 2 * draw.integer(5, 8)),
        ("as many images as rows", 8, 8),
    ):
        yield Case(label, (draw.normal(count, side, side) + draw.number(1, 2),))
    side = 2 * draw.integer(6, 9)
    places = torch.arange(side, dtype=torch.float64)
    rows, columns = (torch.cos(2 * torch.pi * draw.integer(1, side // 2 - 1) * places / side) for _ in range(2))
    yield Case("two waves that cross", ((rows[:, None] * columns)[None] * draw.number(1, 3),), "rings")
    yield Case("stripes of one pixel", ((-1.0) ** places.expand(2, side, side) * draw.number(1, 3),), "rings")


def waves_stand_where_they_are(piece, draw: Draw):
    """A wave along any axis, or along a 3-4-5 triangle, has its power at its own wave number."""
    side, size = 24, draw.number(1, 2)
    places = torch.arange(side, dtype=torch.float64)
    for a, b, k in ((3, 4, 5), (6, 0, 6), (0, 12, 12), (6, 8, 10)):
        wave = size * torch.cos(2 * torch.pi * (a * places[:, None] + b * places) / side)
        found = piece(wave[None])
        if found.shape != (side // 2 + 1,):
            return f"for images of side {side} the shape is {tuple(found.shape)}"
        if int(found.argmax()) != k or float(found[k]) < 1e6 * float(found.sum() - found[k]):
            return (
                f"a wave with {a} and {b} periods along the sides stands at k = {int(found.argmax())}, and {k} is right"
            )
    return None


EXERCISE = Exercise(
    chapter="satellite",
    kind="data",
    title="The power at each wave number",
    statement=r"""
Two sets of images can agree in every pixel's mean and variance and look entirely different: one smooth, one grainy. The
power spectrum tells them apart. With the discrete Fourier transform $F$ of an image of $H \times H$ pixels, frequency
$(k_1, k_2)$ has the power $|F|^2 / H^2$, so that white noise has its variance everywhere. Landscapes have no preferred
direction, so average over rings, and over the images:

$$
P_k = \mathrm{mean}\, \bigl\{ |F(k_1, k_2)|^2 / H^2 : \mathrm{round} \sqrt{k_1^2 + k_2^2} = k \bigr\},
\qquad k = 0, \dots, H / 2.
$$
""",
    reference=radial_power,
    parts={"values": 3, "rings": 1, CARE: 1},
    cases=cases,
    properties=(Property("a wave stands at its own wave number", waves_stand_where_they_are, "rings"),),
    wrong_answers=(
        wrong(amplitudes_averaged),
        wrong(images_averaged_first),
        wrong(summed_over_the_ring),
        wrong(not_divided),
        wrong(divided_by_the_side),
        wrong(divided_twice),
        wrong(zero_not_in_the_corner),
        wrong(negative_frequencies_far_out),
        wrong(rounded_down),
        wrong(squares_for_rings),
        wrong(one_direction_only),
        wrong(one_dimension_only),
        wrong(mean_of_the_image_taken_off),
        wrong(last_ring_missing),
    ),
    right_answers=(right(by_bincount), right(orthonormal), right(image_by_image)),
    hints=(
        "In which order does `torch.fft.fft2` return its frequencies?",
        "`torch.fft.fftfreq(H, 1 / H)` has them in that order. Round their distance from 0, and take means.",
    ),
    source="van der Schaaf & van Hateren 1996, section 2",
)
