"""The feature classifier on scikit-learn's digits: it learns, repeats itself, and is cached safely."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from diffusion_lab.errors import CheckpointError, DataError, TrainingError
from diffusion_lab.metrics import (
    accuracy_of,
    cached_classifier,
    frechet_distance,
    load_classifier,
    save_classifier,
    train_classifier,
)
from diffusion_lab.metrics.classifier import augment

CLASSES = tuple("0123456789")
RECIPE = {"epochs": 8, "seed": 0, "batch": 64}


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 8 - 1
    labels = torch.tensor(bunch.target, dtype=torch.int64)
    return images[:1400], labels[:1400], images[1400:], labels[1400:]


@pytest.fixture(scope="module")
def trained(digits):
    return train_classifier(*digits[:2], CLASSES, **RECIPE)


def test_it_learns_and_its_features_tell_real_from_noise(digits, trained):
    images, _, test_images, test_labels = digits
    assert accuracy_of(trained, test_images, test_labels) > 0.9  # by other writers than the training images
    probabilities = trained.predict(test_images)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(test_images)))
    features = trained.features(images)
    assert features.shape == (1400, 64) and not features.requires_grad
    assert (features.std(0) > 0).all()  # no dead feature
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randperm(1400, generator=generator).chunk(2)
    floor = frechet_distance(features[one], features[other])
    noisy = images[other] + 0.5 * torch.randn(images[other].shape, generator=generator)
    assert frechet_distance(features[one], trained.features(noisy)) > 3 * floor
    assert frechet_distance(features[one], trained.features(images[other].flip(3))) > 3 * floor


def test_batches_do_not_change_features_and_training_mode_is_restored(digits, trained):
    trained.train()
    features = trained.features(digits[2][:30], batch=7)
    assert trained.training
    trained.eval()
    torch.testing.assert_close(features, trained.features(digits[2][:30]))
    with torch.no_grad():
        torch.testing.assert_close(trained.predict(digits[2][:30]), trained(digits[2][:30]).softmax(1))


def test_the_seed_decides_and_the_global_generator_is_left_alone(digits):
    images, labels = digits[0][:256], digits[1][:256]
    recipe = {"epochs": 1, "batch": 64, "crop": 1, "flip": True}
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = train_classifier(images, labels, CLASSES, seed=0, **recipe)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    again = train_classifier(images, labels, CLASSES, seed=0, **recipe)
    other = train_classifier(images, labels, CLASSES, seed=1, **recipe)
    assert torch.equal(first.features(images), again.features(images))
    assert not torch.equal(first.features(images), other.features(images))


def test_progress_counts_every_step_on_colour_images_too():
    images = torch.randn(50, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    calls = []
    net = train_classifier(
        images,
        torch.arange(50) % 2,
        ("a", "b"),
        epochs=2,
        seed=0,
        batch=20,
        crop=4,
        flip=True,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert net.features(images).shape == (50, 64)


def test_augment_is_a_shift_or_a_mirrored_shift():
    images = torch.rand(40, 2, 9, 11, generator=torch.Generator().manual_seed(0))
    found = augment(images, torch.Generator().manual_seed(1), crop=2, flip=True)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge")
    seen = set()
    for image, wide in zip(found.numpy(), padded, strict=True):
        for top in range(5):
            for left in range(5):
                window = wide[:, top : top + 9, left : left + 11]
                seen |= {(top, left, 0)} if np.array_equal(image, window) else set()
                seen |= {(top, left, 1)} if np.array_equal(image, window[..., ::-1]) else set()
        matches = [
            1
            for t in range(5)
            for c in range(5)
            for w in [wide[:, t : t + 9, c : c + 11]]
            if np.array_equal(image, w) or np.array_equal(image, w[..., ::-1])
        ]
        assert len(matches) == 1
    assert {flip for *_, flip in seen} == {0, 1} and len({top for top, *_ in seen}) == 5


def test_refusals(digits, trained):
    images, labels = digits[:2]
    with pytest.raises(DataError, match=r"\(1400, 8, 8\)"):
        train_classifier(images[:, 0], labels, CLASSES, **RECIPE)
    with pytest.raises(DataError, match="uint8"):
        train_classifier(images.to(torch.uint8), labels, CLASSES, **RECIPE)
    with pytest.raises(DataError, match="0 to 9, and there are 9 classes"):
        train_classifier(images, labels, CLASSES[:9], **RECIPE)
    with pytest.raises(DataError, match=r"int64 \(1400,\)"):
        train_classifier(images, labels[:5], CLASSES, **RECIPE)
    with pytest.raises(DataError, match=r"expected \(N, 1, H, W\)"):
        trained.features(torch.zeros(4, 3, 8, 8))
    with pytest.raises(TrainingError, match="step 1 of"):
        train_classifier(images * float("nan"), labels, CLASSES, **RECIPE)


def test_the_cache_trains_once_per_data_and_settings(digits, tmp_path):
    images, labels, test_images, test_labels = digits
    calls = []

    def get(images=images, **changes):
        calls.clear()
        recipe = {"epochs": 1, "seed": 0, "batch": 64, **changes}
        net = cached_classifier(
            tmp_path / "cache",
            images,
            labels,
            CLASSES,
            test_images,
            test_labels,
            **recipe,
            progress=lambda *step: calls.append(step),
        )
        return net, bool(calls)

    first, was_trained = get()
    assert was_trained
    second, was_trained = get()
    assert not was_trained
    assert torch.equal(first.features(test_images), second.features(test_images))
    assert second.classes == CLASSES and not second.training
    assert second.accuracy == first.accuracy == accuracy_of(first, test_images, test_labels)
    assert get(seed=1)[1] and get(crop=1)[1]
    changed = images.clone()
    changed[7, 0, 3, 3] += 1e-3
    assert get(changed)[1]
    assert not get()[1]
    assert len(list((tmp_path / "cache").iterdir())) == 4  # and no partial files


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "one byte", "other data"])
def test_a_damaged_cache_file_is_named_and_trained_again(digits, trained, tmp_path, damage):
    images, labels, test_images, test_labels = (part[:128] for part in digits)
    arguments = (tmp_path, images, labels, CLASSES, test_images, test_labels)
    first = cached_classifier(*arguments, epochs=1, seed=0)
    (path,) = tmp_path.iterdir()
    good = path.read_bytes()
    if damage == "other data":
        save_classifier(trained, path, "0" * 64)
    else:
        changed = good[:-1] + bytes([good[-1] ^ 1])
        path.write_bytes({"truncated": good[:-100], "empty": b"", "text": b"no tensors", "one byte": changed}[damage])
    if damage != "other data":
        with pytest.raises(CheckpointError, match=path.name):
            load_classifier(path)
    again = cached_classifier(*arguments, epochs=1, seed=0)
    assert torch.equal(first.features(images), again.features(images))
    assert load_classifier(path).accuracy == first.accuracy  # and the file is whole again


def test_loading_refuses_what_is_not_there_or_not_a_classifier(trained, tmp_path):
    with pytest.raises(CheckpointError, match=r"no classifier file .*gone\.safetensors"):
        load_classifier(tmp_path / "gone.safetensors")
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="format None"):
        load_classifier(tmp_path / "other.safetensors")
    save_classifier(trained, tmp_path / "net.safetensors", "a" * 64)
    with pytest.raises(CheckpointError, match="other data"):
        load_classifier(tmp_path / "net.safetensors", expected_fingerprint="b" * 64)


@pytest.mark.nightly
@pytest.mark.real_data
def test_accuracy_on_mnist(real_data_folder):
    def read(name, offset, shape):
        raw = gzip.decompress((real_data_folder / "MNIST" / "raw" / name).read_bytes())
        return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=offset).reshape(shape).copy())

    images = read("train-images-idx3-ubyte.gz", 16, (-1, 1, 28, 28)) / 127.5 - 1
    labels = read("train-labels-idx1-ubyte.gz", 8, (-1,)).long()
    test_images = read("t10k-images-idx3-ubyte.gz", 16, (-1, 1, 28, 28)) / 127.5 - 1
    test_labels = read("t10k-labels-idx1-ubyte.gz", 8, (-1,)).long()
    net = train_classifier(images, labels, CLASSES, epochs=2, seed=0)
    assert accuracy_of(net, test_images, test_labels) >= 0.985
