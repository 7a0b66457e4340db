"""No false alarm: right answers, schedules, shapes, seeds and other people's libraries pass."""

from __future__ import annotations

import math

import pytest
import torch
from doctor_cases import BETAS, EXPECTED, function_of, handed, loop_told_the_step
from torch import nn

from diffusion_lab.betas import cosine_alpha_bar, linear_betas, rescale_zero_terminal_snr
from diffusion_lab.doctor import examine
from diffusion_lab.exercises import library

WALKS = ("sampling_loop", "eps_loss beside a sampler", "heun_step", "euler_ode_step", "dpmpp_2m_step")
# Both give a network of float32 weights float64 data, which the exercise allows and no such network takes.
FLOAT64 = {("simple_loss", "float64 inside")}
RIGHT = [
    pytest.param(context, answer, marks=pytest.mark.slow if context in WALKS and answer else ())
    for context in EXPECTED
    for answer in ("", *(right.name for right in library()[context.partition(" ")[0]].right_answers))
    if (context, answer) not in FLOAT64 and not (" " in context and answer)
]


@pytest.mark.parametrize(("context", "answer"), RIGHT)
def test_a_right_answer_has_no_finding(context: str, answer: str):
    pieces = handed(context, answer)
    if context in ("ddpm_step", "ddim_step"):
        del pieces["data"]
    checkup = examine(**pieces)
    assert checkup.codes == (), checkup.as_text()
    assert checkup.examined


class Small(nn.Module):
    """A network of the usual kind: whole time steps, waves, dropout, and a last layer that starts at zero."""

    def __init__(self, size: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(size + 2, 16), nn.SiLU(), nn.Dropout(0.5), nn.Linear(16, 16), nn.SiLU())
        self.last = nn.Linear(16, size)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x, t):
        waves = torch.stack([(t / 20.0).sin(), (t / 20.0).cos()], dim=1)
        return self.last(self.layers(torch.cat([x.flatten(1), waves], dim=1))).reshape(x.shape)


def everything(alpha_bar: torch.Tensor, kind: str, shape: tuple[int, ...]) -> dict:
    """A small diffusion that draws its own times and noise, and steps over its own tables."""
    before = torch.cat([torch.ones(1), alpha_bar[:-1]])
    betas = 1 - alpha_bar / before
    T = len(alpha_bar)

    def at(table, t, like):
        return table[t].reshape(-1, *[1] * (like.ndim - 1))

    def q_sample(x_start, t, noise=None):
        noise = torch.randn_like(x_start) if noise is None else noise
        kept = at(alpha_bar, t, x_start)
        return kept.sqrt() * x_start + (1 - kept).sqrt() * noise

    def loss(model, x):
        t, noise = torch.randint(T, (len(x),)), torch.randn_like(x)
        kept = at(alpha_bar, t, x)
        target = {"eps": noise, "x0": x, "v": kept.sqrt() * noise - (1 - kept).sqrt() * x}[kind]
        return nn.functional.mse_loss(model(q_sample(x, t, noise), t), target)

    def p_sample(model, x, t):
        kept, alpha = at(alpha_bar, t, x), at(1 - betas, t, x)
        out = model(x, t)
        if kind == "eps":
            out = (x - (1 - kept).sqrt() * out) / kept.sqrt()
        elif kind == "v":
            out = kept.sqrt() * x - (1 - kept).sqrt() * out
        out = out.clamp(-1, 1)
        mean = (at(before, t, x).sqrt() * (1 - alpha) * out + alpha.sqrt() * (1 - at(before, t, x)) * x) / (1 - kept)
        spread = ((1 - at(before, t, x)) / (1 - kept) * (1 - alpha)).sqrt()
        return mean + spread * torch.randn_like(x)

    @torch.no_grad()
    def sample(model, shape):
        x = torch.randn(shape)
        for t in reversed(range(T)):
            x = p_sample(model, x, torch.full((len(x),), t))
        return x

    return {
        "alpha_bar": alpha_bar, "q_sample": q_sample, "loss": loss, "ddpm_step": p_sample, "sample": sample,
        "shape": shape, "network": Small(math.prod(shape)), "data": torch.rand(32, *shape) * 2 - 1,
    }  # fmt: skip


TABLES = {
    "linear": torch.cumprod(1 - torch.linspace(1e-3, 0.2, 100), dim=0),
    "cosine": cosine_alpha_bar(60, 0.008).float(),
    "zero terminal": rescale_zero_terminal_snr(torch.cumprod(1 - linear_betas(80, 1e-3, 0.2), dim=0)).float(),
}


@pytest.mark.parametrize(
    ("table", "kind", "shape"),
    [
        ("linear", "eps", (2,)),
        pytest.param("cosine", "x0", (1, 4, 4), marks=pytest.mark.slow),
        pytest.param("zero terminal", "v", (3, 2, 5), marks=pytest.mark.slow),
        pytest.param("linear", "v", (1, 28, 28), marks=pytest.mark.slow),
    ],
)
def test_a_whole_right_diffusion_has_no_finding(table: str, kind: str, shape: tuple[int, ...]):
    checkup = examine(**everything(TABLES[table], kind, shape))
    assert checkup.codes == (), checkup.as_text()
    assert len(checkup.examined) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_what_is_drawn_does_not_decide(seed: int):
    """Losses and samplers with randomness of their own, whatever the generator's state."""
    torch.manual_seed(seed)
    pieces = everything(TABLES["linear"], ("eps", "x0", "v")[seed % 3], (3,))
    state = torch.get_rng_state()
    assert examine(**pieces).codes == ()
    assert torch.equal(torch.get_rng_state(), state)


SCHEDULERS = {
    "DDPM": ("DDPMScheduler", {}),
    "DDIM": ("DDIMScheduler", {}),
    "DDIM trailing, v": ("DDIMScheduler", {"timestep_spacing": "trailing", "prediction_type": "v_prediction"}),
    "DDPM to zero": ("DDPMScheduler", {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction",
                                       "timestep_spacing": "trailing"}),
    "Heun": ("HeunDiscreteScheduler", {}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "DPM++": ("DPMSolverMultistepScheduler", {}),
    "DPM++ SDE": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "UniPC": ("UniPCMultistepScheduler", {}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_of_diffusers_pass(name: str):
    import diffusers

    kind, settings = SCHEDULERS[name]
    checkup = examine(getattr(diffusers, kind)(**settings))
    assert checkup.codes == (), checkup.as_text()


@pytest.mark.slow
def test_what_is_true_of_stable_diffusions_settings_is_told():
    """It ends at its first level and not at the data; and noise without a rescaled end holds 0.5 % of the data."""
    from diffusers import DDIMScheduler

    settings = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
    scheduler = DDIMScheduler(**settings, set_alpha_to_one=False, clip_sample=False)
    (finding,) = examine(scheduler).findings
    assert finding.code == "stops-before-the-data"
    assert finding.measured == pytest.approx(0.00085**0.5, rel=1e-3)
    assert examine(DDIMScheduler(**settings, clip_sample=False)).codes == ()


@pytest.mark.slow
def test_a_zero_end_with_eps_is_told():
    from diffusers import DDIMScheduler

    codes = examine(DDIMScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing")).codes
    assert codes[0] == "eps-of-pure-noise"


@pytest.mark.slow
def test_denoising_diffusion_pytorch_passes():
    library_ = pytest.importorskip("denoising_diffusion_pytorch")
    model = library_.Unet(dim=8, dim_mults=(1, 2), flash_attn=False)
    for settings in ({"timesteps": 100}, {"timesteps": 1000, "sampling_timesteps": 50, "objective": "pred_noise"}):
        checkup = examine(library_.GaussianDiffusion(model, image_size=8, **settings))
        assert checkup.codes == (), checkup.as_text()
        assert len(checkup.examined) >= 8


@pytest.mark.slow
def test_smalldiffusion_is_told_the_truth():
    """Its samples end at the lowest level, sigma 0.01, and everything else passes."""
    small = pytest.importorskip("smalldiffusion")
    schedule = small.ScheduleDDPM(1000)

    class Wrapped(small.ModelMixin, nn.Module):
        input_dims = (2,)

        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x, sigma, cond=None):
            return self.network(x, sigma)

    def loss(network, x0):
        x0, sigma, eps, _ = small.generate_train_sample(x0, schedule)
        return Wrapped(network).get_loss(x0, sigma, eps)

    def sample(network, n):
        *_, x = small.samples(Wrapped(network), schedule.sample_sigmas(100), batchsize=n)
        return x

    network = small.TimeInputMLP(hidden_dims=(16, 32))
    (finding,) = examine(sigmas=schedule.sigmas, loss=loss, sample=sample, network=network, shape=(2,)).findings
    assert (finding.code, finding.measured) == ("stops-before-the-data", pytest.approx(0.01, rel=1e-2))


def test_the_loop_of_the_cases_is_right():
    assert examine(betas=linear_betas(40, 1e-3, 0.35).float(), sample=loop_told_the_step).codes == ()
    assert examine(betas=BETAS, alpha_bar=function_of("alpha_bar")).well


@pytest.mark.parametrize("shift", [0.0, 1.0])  # without it the network is odd in x, which is no straight line
def test_a_network_that_refuses_a_noise_level_of_0_finds_its_shape(shift: float):
    weights = torch.eye(28) + 0.1

    def network(x, sigma):
        if (sigma <= 0).any():
            raise ValueError("a noise level is above 0")
        return torch.tanh(shift + x @ weights / (1 + sigma.reshape(-1, 1, 1, 1)))

    checkup = examine(sigmas=torch.logspace(-2, 1, 50), told="sigma", network=network)
    assert checkup.codes == () and "one sample has the shape (1, 28, 28)" in checkup.as_text()


@pytest.mark.parametrize("seed", [21, 36, 40])
def test_few_answers_of_one_sign_are_no_finding(seed: int):
    """With these weights all thirty-two numbers of an untrained network have one sign, by chance."""
    torch.manual_seed(seed)
    network = Small(2)
    checkup = examine(betas=linear_betas(100, 1e-3, 0.2), network=network, shape=(2,))
    assert checkup.codes == (), checkup.as_text()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["(x, timestep=t).sample", "(x, t, return_dict=False)[0]"])
def test_a_loss_and_a_network_as_diffusers_has_them(way: str):
    """Its networks answer with an object, and refuse labels that they were not made for."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    network = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8,), norm_num_groups=4,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), add_attention=False,
    )  # fmt: skip

    def loss(model, x0):
        t, noise = torch.randint(1000, (len(x0),)), torch.randn_like(x0)
        x = scheduler.add_noise(x0, noise, t)
        return (eval(f"model{way}", {"model": model, "x": x, "t": t}) - noise).square().mean()

    checkup = examine(scheduler=scheduler, loss=loss, network=network)
    assert checkup.codes == (), checkup.as_text()
    assert {"loss", "network"} <= {line.partition(":")[0] for line in checkup.examined}
