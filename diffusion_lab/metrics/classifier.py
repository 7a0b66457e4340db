"""A small classifier whose features stand in for Inception's when generated images are scored.

Inception was trained on photographs of 299x299 pixels and is a download of 90 MB. For digits of 28x28, and images of
32x32, a network trained for seconds on the data itself needs neither. Its scores compare samples of one data set under
one classifier, and are not the FID of any paper; so a run trains it once: see `classifier_cache`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from diffusion_lab.errors import DataError, TrainingError

FEATURES = 64
"""The number of features of an image, before the last layer."""
WIDTHS = (32, 64, 128)
"""Channels after each convolution. Each halves height and width, so that most of the work is on few pixels."""


class FeatureClassifier(nn.Module):
    """Images (N, C, H, W) -> class logits (N, K), through 64 features. At least 8x8 pixels, any range of values.

    `mean` and `std` (C,) are those of the training images, which the network normalises by. The weights are not set
    here but by `initialise` or by a file, so that building one does not touch the global random numbers.
    """

    def __init__(self, classes: Sequence[str], mean: Tensor, std: Tensor):
        super().__init__()
        self.classes = tuple(classes)
        self.accuracy: float | None = None
        """The fraction of held-out images it gets right, once measured."""
        self.register_buffer("mean", mean.detach().clone().to(torch.float32).reshape(-1, 1, 1))
        self.register_buffer("std", std.detach().clone().to(torch.float32).reshape(-1, 1, 1))
        sizes = (len(mean), *WIDTHS)
        layers: list[nn.Module] = []
        with torch.device("meta"):
            for stage, (inputs, outputs) in enumerate(zip(sizes, WIDTHS, strict=False)):
                size = 5 if stage == 0 else 3
                layers += [nn.Conv2d(inputs, outputs, size, stride=2, padding=size // 2, bias=False)]
                layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
            self.body = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(2), nn.Flatten())
            self.feature_layer = nn.Sequential(nn.Linear(4 * WIDTHS[-1], FEATURES), nn.SiLU())
            self.head = nn.Linear(FEATURES, len(self.classes))
        for part in (self.body, self.feature_layer, self.head):
            part.to_empty(device=self.mean.device)
        self.to(memory_format=torch.channels_last)  # the faster layout for convolutions on a CPU

    def initialise(self, generator: Generator) -> FeatureClassifier:
        """Set every weight anew (He et al. 2015 for the layers before a ReLU) from a CPU generator; returns self."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                start = torch.empty(module.weight.shape)
                nn.init.kaiming_normal_(start, nonlinearity="relu", generator=generator)
                module.weight.data.copy_(start)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
        return self

    def embed(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) -> features (N, 64)."""
        x = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        return self.feature_layer(self.body(x))

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) -> logits (N, K)."""
        return self.head(self.embed(images))

    def features(self, images: Tensor, batch: int = 500) -> Tensor:
        """Images (N, C, H, W) -> features (N, 64) for `frechet_distance`, in evaluation mode, on the images' device."""
        return self._batched(self.embed, images, batch)

    def predict(self, images: Tensor, batch: int = 500) -> Tensor:
        """Images (N, C, H, W) -> class probabilities (N, K), in evaluation mode, on the images' device."""
        return self._batched(self, images, batch).softmax(dim=1)

    @torch.no_grad()
    def _batched(self, function: Callable[[Tensor], Tensor], images: Tensor, batch: int) -> Tensor:
        check_images(images, channels=len(self.mean))
        was_training = self.training
        self.eval()
        try:
            return torch.cat([function(part.to(self.mean)) for part in images.split(batch)]).to(images.device)
        finally:
            self.train(was_training)


def train_classifier(
    images: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    *,
    epochs: int,
    seed: int,
    crop: int = 0,
    flip: bool = False,
    batch: int = 128,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureClassifier:
    """A classifier trained on images (N, C, H, W) with labels (N,) int64, on the device that holds the images.

    `crop` shifts every image by up to that many pixels each way, `flip` mirrors half of them (not for digits: a
    mirrored 2 is none). `progress` is called after each step with the steps done and the steps in all. The same seed on
    the same machine gives the same network. AdamW with one cycle of the learning rate (Smith & Topin 2018).
    Raises DataError when images and labels do not fit, and TrainingError naming the step when the loss is not finite.
    """
    check_images(images)
    _check_labels(images, labels, classes)
    if epochs < 1 or batch < 2 or crop < 0:
        raise ValueError(f"epochs is {epochs}, batch {batch} and crop {crop}; they must be at least 1, 2 and 0")
    generator = torch.Generator().manual_seed(seed)
    images = images.to(torch.float32)
    std, mean = torch.std_mean(images, dim=(0, 2, 3))
    net = FeatureClassifier(classes, mean, std.clamp(min=1e-6)).initialise(generator).train()
    batch = min(batch, len(images))
    steps = epochs * (len(images) // batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=0.02)
    # One cycle: up for the first fifth of the steps, then down to nothing.
    top = max(1, steps // 5)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / top, (steps - step) / max(1, steps - top))
    )
    done = 0
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        for rows in order.split(batch):
            if len(rows) < batch:
                continue  # a last batch of one image would have no batch statistics
            x = augment(images[rows.to(images.device)], generator, crop=crop, flip=flip)
            loss = functional.cross_entropy(net(x), labels[rows.to(labels.device)].to(images.device))
            done += 1
            if not loss.isfinite():
                raise TrainingError(
                    f"the classifier's loss is {loss.item()} at step {done} of {steps}; are the images finite?"
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if progress is not None:
                progress(done, steps)
    return net.eval()


def accuracy_of(net: FeatureClassifier, images: Tensor, labels: Tensor) -> float:
    """The fraction of images (N, C, H, W) whose most probable class is the label (N,)."""
    _check_labels(images, labels, net.classes)
    return float((net.predict(images).argmax(dim=1) == labels.to(images.device)).cpu().to(torch.float64).mean())


def augment(images: Tensor, generator: Generator, *, crop: int, flip: bool) -> Tensor:
    """Images (N, C, H, W), each shifted by up to `crop` pixels, its edge repeated, and half mirrored for `flip`."""
    if not crop and not flip:
        return images
    count, _, height, width = images.shape
    top, left = torch.randint(0, 2 * crop + 1, (2, count, 1), generator=generator)
    rows, columns = top + torch.arange(height), left + torch.arange(width)  # (N, H) and (N, W)
    if flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    padded = functional.pad(images, (crop,) * 4, mode="replicate").permute(0, 2, 3, 1)  # (N, H + 2 crop, W + 2 crop, C)
    which = torch.arange(count)[:, None, None].to(images.device)
    picked = padded[which, rows[:, :, None].to(images.device), columns[:, None, :].to(images.device)]  # (N, H, W, C)
    return picked.permute(0, 3, 1, 2)


def check_images(images: Tensor, channels: int | None = None) -> None:
    """Raise DataError unless images are floating point (N, C, H, W), N > 0, at least 8x8, with `channels` channels."""
    expected = f"(N, {'C' if channels is None else channels}, H, W) with H and W at least 8"
    fits = images.ndim == 4 and len(images) > 0 and min(images.shape[2:]) >= 8
    if not fits or channels not in (None, images.shape[1]):
        raise DataError(f"images have shape {tuple(images.shape)}; expected {expected}")
    if not images.is_floating_point():
        raise DataError(f"images are {images.dtype}; expected floating point, such as the range -1 to 1")


def _check_labels(images: Tensor, labels: Tensor, classes: Sequence[str]) -> None:
    if labels.shape != (len(images),) or labels.dtype != torch.int64:
        raise DataError(f"labels are {labels.dtype} of shape {tuple(labels.shape)}; expected int64 ({len(images)},)")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"labels run from {labels.min()} to {labels.max()}, and there are {len(classes)} classes")
