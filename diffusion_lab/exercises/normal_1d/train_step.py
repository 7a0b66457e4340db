"""train_step: one step of training, with its optimizer and the average of the weights."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.driving import driven
from diffusion_lab.exercises.normal_1d.probes import Known, train_bench
from diffusion_lab.exercises.probes import Probe
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def train_step(
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    x0: Tensor,
    eps: Tensor,
    t: Tensor,
    alpha_bar: Tensor,
    decay: float,
) -> float:
    """Move the weights of `network` once, and let `average` follow.

    Args:
        network: called as network(x, time) with the noisy x (B, *S) and time (t + 1) / T, shape (B,), in (0, 1]; it
            guesses the noise, (B, *S). Its weights change.
        average: a network of the same kind, whose weights become decay * average + (1 - decay) * network, with the
            weights that the network has after its step.
        optimizer: it holds the weights of `network`, and perhaps gradients of an earlier step.
        x0: (B, *S), a batch of data.
        eps: (B, *S), the noise to mix in.
        t: (B,) int64, a step in 0..T-1 for each sample.
        alpha_bar: (T,), the share of the data that is left after each step.
        decay: how much of the average stays, in [0, 1].

    Returns:
        The loss before the step, a number that hangs on no graph: the mean of the squared errors of all entries.
    """
    left = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    x = left.sqrt() * x0 + (1 - left).sqrt() * eps
    loss = (network(x, (t + 1) / len(alpha_bar)) - eps).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
            slow.copy_(decay * slow + (1 - decay) * fast)
    return loss.item()


def _noisy(x0, eps, t, alpha_bar):
    left = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    return left.sqrt() * x0 + (1 - left).sqrt() * eps


def _loss(network, x0, eps, t, alpha_bar):
    return (network(_noisy(x0, eps, t, alpha_bar), (t + 1) / len(alpha_bar)) - eps).square().mean()


@torch.no_grad()
def _follow(average, network, decay):
    for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 1 - decay)


def _finish(network, average, optimizer, loss, decay):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    _follow(average, network, decay)
    return loss.item()


def gradients_kept(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The gradients are never reset. `backward` adds to what is in `.grad`, so each step still feels all those before:
    call `zero_grad` once in every step."""
    loss = _loss(network, x0, eps, t, alpha_bar)
    loss.backward()
    optimizer.step()
    _follow(average, network, decay)
    return loss.item()


def reset_too_late(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The gradients are thrown away between `backward` and `step`, so the weights never move. Reset them before
    `backward`, or after `step`."""
    loss = _loss(network, x0, eps, t, alpha_bar)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    _follow(average, network, decay)
    return loss.item()


def step_before_backward(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The optimizer steps before `backward` has found the slopes, and so takes those of the step before: first the
    loss, then `backward`, then `step`."""
    loss = _loss(network, x0, eps, t, alpha_bar)
    optimizer.step()
    optimizer.zero_grad()
    loss.backward()
    _follow(average, network, decay)
    return loss.item()


def decay_swapped(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """In the average, decay and 1 - decay have changed places: nearly all of it would be forgotten at each step. decay
    is what stays."""
    return _finish(network, average, optimizer, _loss(network, x0, eps, t, alpha_bar), 1 - decay)


def average_not_updated(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The averaged network is where it was. It follows the weights in every step, and samples are drawn with it."""
    return _finish(network, average, optimizer, _loss(network, x0, eps, t, alpha_bar), 1.0)


def average_copied(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The averaged network is a copy of the trained one: `decay` was not used."""
    return _finish(network, average, optimizer, _loss(network, x0, eps, t, alpha_bar), 0.0)


def average_before_the_step(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The average is updated before the optimizer moves the weights, so that it is one step behind. Update it last."""
    loss = _loss(network, x0, eps, t, alpha_bar)
    _follow(average, network, decay)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def average_tracked(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The average was updated without `torch.no_grad()`: it hangs on the graph of the network's weights, which grows
    with every step until memory is full."""
    loss = _loss(network, x0, eps, t, alpha_bar)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 1 - decay)
    return loss.item()


def loss_on_its_graph(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The loss that comes back still hangs on its graph, and a list of a thousand losses would keep a thousand graphs.
    Return `loss.item()`, or `loss.detach()`."""
    loss = _loss(network, x0, eps, t, alpha_bar)
    _finish(network, average, optimizer, loss, decay)
    return loss


def left_in_evaluation(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The network is in evaluation mode afterwards, in which dropout and batch normalisation do not train. Leave its
    mode as it is."""
    found = _finish(network, average, optimizer, _loss(network, x0, eps, t, alpha_bar), decay)
    network.eval()
    return found


def time_as_a_whole_number(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The network got the number of the step, and it takes times in (0, 1]: give it (t + 1) / T."""
    loss = (network(_noisy(x0, eps, t, alpha_bar), t.to(x0.dtype)) - eps).square().mean()
    return _finish(network, average, optimizer, loss, decay)


def time_one_step_early(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The network got t / T. Entry 0 of alpha_bar is the level after the first step, at time 1 / T: give it
    (t + 1) / T."""
    loss = (network(_noisy(x0, eps, t, alpha_bar), t / len(alpha_bar)) - eps).square().mean()
    return _finish(network, average, optimizer, loss, decay)


def time_left_out(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The network got the same time for every sample. It has to know how noisy each one is: give it (t + 1) / T."""
    loss = (network(_noisy(x0, eps, t, alpha_bar), torch.zeros(len(t)).to(x0)) - eps).square().mean()
    return _finish(network, average, optimizer, loss, decay)


def no_roots(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The data and the noise were multiplied by shares of variance, alpha_bar and 1 - alpha_bar. Numbers are multiplied
    by their roots."""
    left = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    x = left * x0 + (1 - left) * eps
    loss = (network(x, (t + 1) / len(alpha_bar)) - eps).square().mean()
    return _finish(network, average, optimizer, loss, decay)


def data_as_target(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The guess was compared with the clean data. This network guesses the noise."""
    guess = network(_noisy(x0, eps, t, alpha_bar), (t + 1) / len(alpha_bar))
    return _finish(network, average, optimizer, (guess - x0).square().mean(), decay)


def summed(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The loss is the sum over the batch. Its slopes grow with the size of the batch, and the learning rate would have
    to shrink with it: take the mean."""
    loss = _loss(network, x0, eps, t, alpha_bar) * x0.numel()
    return _finish(network, average, optimizer, loss, decay)


def loss_after_the_step(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The loss that comes back was computed again after the step. Return the one that the step went down from; the
    second costs another call of the network."""
    _finish(network, average, optimizer, _loss(network, x0, eps, t, alpha_bar), decay)
    return _loss(network, x0, eps, t, alpha_bar).item()


def two_steps(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The optimizer stepped twice on one gradient: call `step` once in every step."""
    loss = _loss(network, x0, eps, t, alpha_bar)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return _finish_again(network, average, optimizer, loss, decay)


def _finish_again(network, average, optimizer, loss, decay):
    optimizer.step()
    _follow(average, network, decay)
    return loss.item()


def _errors(network, x0, eps, t, alpha_bar):
    return (network(_noisy(x0, eps, t, alpha_bar), (t + 1) / len(alpha_bar)) - eps).square().flatten(1)


def entries_of_a_sample_summed(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The errors of each sample were summed, and only the samples averaged. The slopes then grow with the size of a
    sample: take the mean of all entries."""
    loss = _errors(network, x0, eps, t, alpha_bar).sum(dim=1).mean()
    return _finish(network, average, optimizer, loss, decay)


def samples_summed(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    """The errors of each sample were averaged, and the samples summed. The slopes then grow with the size of the batch:
    take the mean of all entries."""
    loss = _errors(network, x0, eps, t, alpha_bar).mean(dim=1).sum()
    return _finish(network, average, optimizer, loss, decay)


def reset_at_the_end(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(
        network(_noisy(x0, eps, t, alpha_bar), (t + 1) / len(alpha_bar)), eps.to(alpha_bar.dtype)
    )
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    _follow(average, network, decay)
    return loss.detach()


def by_state_dictionary(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    loss = _loss(network, x0, eps, t, alpha_bar)
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    optimizer.step()
    fresh = network.state_dict()
    average.load_state_dict({n: decay * old + (1 - decay) * fresh[n] for n, old in average.state_dict().items()})
    return float(loss)


def time_in_the_dtype_of_the_data(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    time = (t.to(x0.dtype) + 1) / len(alpha_bar)
    loss = (network(_noisy(x0, eps, t, alpha_bar), time) - eps).square().mean()
    return _finish(network, average, optimizer, loss, decay)


def slopes_by_hand(network, average, optimizer, x0, eps, t, alpha_bar, decay):
    weights = list(network.parameters())
    loss = _loss(network, x0, eps, t, alpha_bar)
    for weight, slope in zip(weights, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
        weight.grad = slope
    optimizer.step()
    for slow, fast in zip(average.parameters(), weights, strict=True):
        slow.data.mul_(decay).add_(fast.data, alpha=1 - decay)
    return loss.item()


def cases(draw: Draw):
    for part, steps in (("one step", 1), ("one step", 1), ("several steps", 3), ("several steps", 4)):
        levels, batch, size = draw.integer(5, 9), draw.integer(3, 6), draw.integer(2, 3)
        batch += batch == size
        t = torch.stack([draw.times(batch, levels) for _ in range(steps)])
        x0, eps = draw.normal(steps, batch, size), draw.normal(steps, batch, size)
        decay = draw.number(0.7, 0.9)
        network = Probe(draw.integer(0, 999))
        label = f"{steps} step{'s' * (steps > 1)}, decay {decay:g}"
        yield Case(label, (network, x0, eps, t, draw.alpha_bar(levels), decay), part)


def one_weight(piece, draw: Draw):
    """A network of one weight w guesses a + w. Its slope is 2 mean(a + w - eps), and the whole training is
    arithmetic."""
    batch, steps, decay = draw.integer(3, 6), 12, draw.number(0.6, 0.9)
    answer, eps = draw.normal(batch, 1), draw.normal(batch, 1)
    start = draw.number(0.5, 2.0)
    repeated = torch.zeros(steps, batch, 1, dtype=torch.float64)
    t = torch.zeros(steps, batch, dtype=torch.int64)
    network = Known(answer, start)
    found = piece(network, repeated, eps.expand(steps, -1, -1).clone(), t, draw.alpha_bar(4), decay)
    w = slow = start
    speed = 0.0
    gap = float((answer - eps).mean())
    for step in range(steps):
        speed = 0.5 * speed + 2 * (gap + w)
        w -= 0.05 * speed
        slow = decay * slow + (1 - decay) * w
        for what, name, wanted in (("weight", "weights", w), ("average", "average weights", slow)):
            got = float(found[name][step])
            if not abs(got - wanted) < 1e-5:
                return f"a network of one weight: after {step + 1} steps its {what} is {got:.5f}, by hand {wanted:.5f}"
    if not found["loss"][-1] < found["loss"][0]:
        return f"the loss on one batch went from {found['loss'][0]:.4f} to {found['loss'][-1]:.4f} in {steps} steps"
    return None


RUN = driven(train_bench)

EXERCISE = Exercise(
    chapter="normal_1d",
    kind="loss",
    title="One step of training",
    statement=r"""
All of training is one step, again and again. Mix data and noise, $x = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 -
\bar\alpha_t}\, \varepsilon$, let the network guess $\varepsilon$ from $x$ and the time $(t + 1)/T$, and take the mean
square of all errors as the loss. Then reset the gradients, go backward, and let the optimizer step. Last,
the average follows: $\bar\theta \leftarrow \lambda\, \bar\theta + (1 - \lambda)\, \theta$.

Return the loss as a number. Nothing that is left, neither the loss nor the average, may hang on a graph, and the
network stays in the mode in which it came. The check runs your function with gradient descent and compares weights,
average and loss after each step.
""",
    reference=RUN(train_step),
    driver=train_bench,
    parts={"one step": 3, "several steps": 3, CARE: 1},
    cases=cases,
    properties=(Property("one weight, by hand", one_weight, "several steps"),),
    wrong_answers=tuple(
        wrong(RUN(answer))
        for answer in (
            gradients_kept,
            reset_too_late,
            step_before_backward,
            decay_swapped,
            average_not_updated,
            average_copied,
            average_before_the_step,
            average_tracked,
            loss_on_its_graph,
            left_in_evaluation,
            time_as_a_whole_number,
            time_one_step_early,
            time_left_out,
            no_roots,
            data_as_target,
            summed,
            loss_after_the_step,
            two_steps,
            entries_of_a_sample_summed,
            samples_summed,
        )
    ),
    right_answers=(
        right(RUN(reset_at_the_end)),
        right(RUN(by_state_dictionary)),
        right(RUN(time_in_the_dtype_of_the_data)),
        right(RUN(slopes_by_hand)),
    ),
    hints=(
        "Which of the three calls, `zero_grad`, `backward` and `step`, must not come between the other two?",
        "Which weights does the average take in: those before the step, or those after it?",
    ),
    source="Ho et al. 2020, algorithm 1; Polyak & Juditsky 1992 for the average",
)
