"""The networks that a page runs answer as PyTorch does, in Chromium and from the file system."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffusion_lab import open_checkpoint, samplers
from diffusion_lab.denoisers import from_network
from diffusion_lab.metrics import random_directions, sliced_wasserstein
from diffusion_lab.times import SPACINGS

pytestmark = pytest.mark.slow

CODE = Path(__file__).resolve().parents[2] / "book" / "assets" / "playground"
POINTS = ("normal_1d", "normal_2d", "mixture", "normal_nd", "spiral")
STEPS = {"ddim": samplers.ddim, "ddpm": samplers.ddpm, "heun": samplers.heun, "dpmpp_2m": samplers.dpmpp_2m}

# The raw outputs for one sample and one time each.
OUTPUTS = """([name, x, t]) => lab.load(name, "networks").then(network =>
  x.map((row, i) => Array.from(network.evaluate(Float64Array.from(row), t[i]))))"""
# All samplers from one start; noise on the way is what was sent.
WALKS = """([name, x, noise, asked]) => lab.load(name, "networks").then(network => asked.map(([step, eta, spacing]) => {
  let drawn = 0, end;
  const { schedule } = network, times = schedule.times(noise.length, spacing), next = () => noise[drawn++];
  const walk = lab.sample(lab.denoiser(network), schedule, lab.steps[step](eta), Float64Array.from(x), times, next);
  for (const frame of walk) { end = frame; }
  return [times, Array.from(end.x), end.evaluations];
}))"""
LEVELS = """([name, t]) => lab.load(name, "networks").then(network => t.map(time => {
  const { alpha, sigma, dalpha, dsigma } = network.schedule.at(time);
  return [alpha, sigma, dalpha, dsigma];
}))"""


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """A page that holds nothing but the playground's code, opened as a file, with the networks beside it."""
    from extension.browser_networks import DIGITS, script
    from extension.playground import SCRIPTS

    folder = tmp_path_factory.mktemp("playground")
    (folder / "networks").mkdir()
    for name in (*POINTS, DIGITS):
        (folder / "networks" / f"{name}.js").write_text(script(name), encoding="utf-8")
    tags = "".join(f'<script src="{(CODE / f"{part}.js").as_uri()}"></script>' for part in SCRIPTS)
    (folder / "page.html").write_text(f"<!doctype html><title>networks</title>{tags}", encoding="utf-8")
    opened = browser.new_page()
    opened.goto((folder / "page.html").as_uri())
    yield opened
    opened.close()


@pytest.fixture(scope="module", params=POINTS)
def experiment(request):
    return open_checkpoint(name=request.param, device="cpu")


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_outputs_agree_with_pytorch(page, experiment):
    x, t = 2 * normals(40, *experiment.network.shape), torch.rand(40, generator=torch.Generator().manual_seed(1))
    found = page.evaluate(OUTPUTS, [experiment.chapter.name, x.tolist(), t.tolist()])
    expected = experiment.network(x, t)
    assert expected.abs().max() > 0.1
    assert torch.allclose(torch.tensor(found), expected, rtol=0, atol=1e-4)


def test_levels_and_rates_agree(page, experiment):
    schedule = experiment.pieces.schedule
    t = torch.linspace(schedule.t_min, schedule.t_max, 57, dtype=torch.float64)
    level = schedule.at(t)
    expected = torch.stack([level.alpha, level.sigma, level.dalpha, level.dsigma], dim=1)
    found = torch.tensor(page.evaluate(LEVELS, [experiment.chapter.name, t.tolist()]), dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_samplers_agree_from_the_same_noise(page, experiment, monkeypatch):
    """Every step on the schedule's own times, DDIM on every spacing; 1e-3 of the size of the data."""
    schedule, shape = experiment.pieces.schedule, experiment.network.shape
    steps, start = 8, samplers.initial_noise(schedule, normals(12, *shape))
    noise = normals(steps, 12, *shape, seed=2)
    asked = [("ddim", 0, ""), ("ddpm", 0, ""), ("heun", 0, ""), ("dpmpp_2m", 0, ""), ("ddim", 0.5, "")]
    asked += [("ddim", 0, spacing) for spacing in SPACINGS]
    found = page.evaluate(
        WALKS, [experiment.chapter.name, start.flatten().tolist(), noise.flatten(1).tolist(), list(map(list, asked))]
    )
    denoise = from_network(experiment.network, experiment.pieces.target)
    # In the place of a generator stands the noise that the page was sent.
    monkeypatch.setattr(samplers.Context, "noise", lambda self, like: next(self.generator))
    for (name, eta, spacing), (times, x, evaluations) in zip(asked, found, strict=True):
        expected = schedule.times(steps)
        if spacing:
            expected = torch.cat([SPACINGS[spacing](steps, schedule), torch.zeros(1, dtype=torch.float64)])
        torch.testing.assert_close(torch.tensor(times, dtype=torch.float64), expected, rtol=1e-9, atol=1e-12)
        step = samplers.ddim(eta) if name == "ddim" else STEPS[name]()
        wanted, way = samplers.sample(denoise, schedule, step, start, times=expected, generator=iter(noise))
        assert evaluations == way.evaluations
        error = (torch.tensor(x).reshape(wanted.shape) - wanted).abs().max()
        assert error <= 1e-3, (name, eta, spacing, error)


def test_the_digits_agree_with_pytorch(page):
    """The U-Net with and without labels, and DDIM from one start, guided and clipped as chapter 5 samples."""
    experiment = open_checkpoint(name="mnist", device="cpu", guidance=2.0)
    x, t, labels = normals(3, 1, 28, 28), torch.tensor([0.1, 0.5, 0.99]), torch.tensor([7, 2, 10])
    ask = """([x, t, labels]) => lab.load("mnist", "networks").then(network =>
      x.map((row, i) => Array.from(network.evaluate(Float64Array.from(row), t[i], labels[i]))))"""
    # The last row of the table is "no label", which the page also says by leaving the label out.
    found = torch.tensor(page.evaluate(ask, [x.flatten(1).tolist(), t.tolist(), [7, 2, None]]))
    assert torch.allclose(found, experiment.network(x, t, labels).flatten(1), rtol=0, atol=1e-4)

    schedule, start = experiment.pieces.schedule, samplers.initial_noise(experiment.pieces.schedule, x[:2])
    label = torch.tensor([7, 7])
    wanted, _ = samplers.sample(experiment.denoiser(label), schedule, samplers.ddim(), start, steps=4)
    ask = """x => lab.load("mnist", "networks").then(network => {
      const denoise = lab.digits.denoiser(network, 7, 2), times = network.schedule.times(4);
      const walk = lab.sample(denoise, network.schedule, lab.steps.ddim(0), Float64Array.from(x), times, null);
      return Array.from([...walk].at(-1).x);
    })"""
    end = torch.tensor(page.evaluate(ask, start.flatten().tolist())).reshape(wanted.shape)
    assert (end - wanted).abs().max() <= 1e-3 and wanted.std() > 0.3


def test_the_exact_density_and_draws_from_it(page, experiment):
    """Against the package's own density, where it has one, and the moments of its draws."""
    exact, (dim,) = experiment.exact, experiment.network.shape
    name, points = experiment.chapter.name, 1.5 * normals(30, dim)
    level = experiment.pieces.schedule.at(torch.tensor(0.2, dtype=torch.float64))
    ask = """([name, points, alpha, sigma]) => lab.load(name, "networks").then(network => {
      const density = lab.density(network.record.truth, { alpha, sigma });
      return [points.map(point => density(point)), Array.from(lab.draw(network.record.truth, 4000, lab.random(5)))];
    })"""
    found, drawn = page.evaluate(ask, [name, points.tolist(), float(level.alpha), float(level.sigma)])
    if hasattr(exact, "log_density"):
        expected = exact.log_density(points.double(), level).exp()
        # The page has every fourth of the spiral's points.
        rtol = 0.01 if name == "spiral" else 1e-5
        torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), expected, rtol=rtol, atol=1e-5)
    drawn = torch.tensor(drawn).reshape(-1, dim)
    directions = random_directions(32, dim, torch.Generator().manual_seed(3))
    first, second = (exact.sample(4_000, torch.Generator().manual_seed(seed)) for seed in (4, 5))
    floor = sliced_wasserstein(first, second, directions)
    assert sliced_wasserstein(drawn, first, directions) < 3 * floor


def test_the_exact_denoiser(page, experiment):
    """At three levels, against the package's; the floor that the page shows is its error."""
    (dim,), schedule, name = experiment.network.shape, experiment.pieces.schedule, experiment.chapter.name
    ask = """([name, x, alpha, sigma]) => lab.load(name, "networks").then(network => {
      const denoise = lab.posterior(network.record.truth, { alpha, sigma });
      return x.map(point => Array.from(denoise(point)));
    })"""
    for log_snr in (6.0, 0.0, -3.0):
        level = schedule.at(schedule.time_at(torch.tensor(log_snr)))
        clean = experiment.exact.sample(20, torch.Generator().manual_seed(1)).double()
        x = level.noisy(clean, normals(20, dim).double())
        found = page.evaluate(ask, [name, x.tolist(), float(level.alpha), float(level.sigma)])
        # The page has every fourth of the spiral's points: it loses little, a tenth of the noise's width.
        atol = 0.1 * experiment.exact.std if name == "spiral" else 1e-5
        expected = experiment.exact.denoise(x, level).x0
        torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), expected, rtol=0, atol=atol)


def test_a_network_that_is_not_there(page):
    ask = """name => lab.load(name, "networks").then(() => "loaded", error => error.message)"""
    assert "networks/spirale.js does not load" in page.evaluate(ask, "spirale")
    assert page.evaluate(ask, "spiral") == "loaded"


def test_the_distance_is_that_of_the_metrics(page):
    a, b, directions = normals(50, 3), normals(50, 3, seed=1) + 0.3, random_directions(8, 3, torch.Generator())
    ask = "([a, b, directions]) => lab.sliced(a, b, 3, directions)"
    found = page.evaluate(ask, [a.flatten().tolist(), b.flatten().tolist(), directions.tolist()])
    assert found == pytest.approx(sliced_wasserstein(a, b, directions), rel=1e-5)


def test_two_coordinates_of_sixteen(page):
    """The marginal of two coordinates has the covariance that stands in the whole one."""
    exact = open_checkpoint(name="normal_nd", device="cpu").exact
    ask = """() => lab.load("normal_nd", "networks").then(network => lab.marginal(network.record.truth, 2, 5))"""
    (part,) = page.evaluate(ask)
    axes, variances = torch.tensor(part["axes"]), torch.tensor(part["variances"])
    cov = axes.T @ torch.diag(variances) @ axes
    torch.testing.assert_close(cov.double(), exact.cov[[2, 5]][:, [2, 5]].double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.tensor(part["mean"]).double(), exact.mean[[2, 5]].double(), rtol=0, atol=1e-5)
