"""ema_update: a slow average of the network that is being trained."""

import torch
from torch import Tensor, nn

from diffusion_lab.exercises.mnist.probes import Counted
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def ema_update(average: nn.Module, online: nn.Module, decay: float) -> dict[str, Tensor]:
    """The next state of the averaged network: a little of the trained one is mixed in.

    Args:
        average: the averaged network.
        online: the network that is being trained, with the same names in its state dictionary.
        decay: how much of the average stays, in [0, 1], such as .999.

    Returns:
        A new state dictionary, name -> tensor, for `average.load_state_dict`. Every floating-point entry, weight or
        buffer, is decay * average + (1 - decay) * online; integer entries, such as counters, are those of `online`.
        No entry is attached to an autograd graph, and both networks are left as they are.
    """
    after = {}
    fresh = online.state_dict()  # weights and buffers, detached
    for name, old in average.state_dict().items():
        new = fresh[name]
        after[name] = decay * old + (1 - decay) * new if old.is_floating_point() else new.clone()
    return after


def _mixed(average, online, decay):
    old, new = average.state_dict(), online.state_dict()
    return {n: torch.lerp(new[n], old[n], decay) if old[n].is_floating_point() else new[n].clone() for n in old}


def decay_swapped(average, online, decay):
    """decay multiplies the online network here. With .999 nearly all of the average would be forgotten at each step:
    decay is what stays of it."""
    return _mixed(average, online, 1 - decay)


def buffers_forgotten(average, online, decay):
    """The weights are averaged and the buffers stay as they were. A normalisation would run on its statistics from
    before training: `state_dict()` has weights and buffers."""
    weights = {name for name, _ in average.named_parameters()}
    old = average.state_dict()
    return {name: new if name in weights else old[name] for name, new in _mixed(average, online, decay).items()}


def buffers_left_out(average, online, decay):
    """The new state has the weights alone. A state dictionary has the buffers too, and cannot be loaded without
    them."""
    weights = {name for name, _ in average.named_parameters()}
    return {name: new for name, new in _mixed(average, online, decay).items() if name in weights}


def buffers_copied(average, online, decay):
    """The weights are averaged and the running numbers are copied. They fit the online network's weights, not the
    averaged ones: average every entry that is a float."""
    weights = {name for name, _ in average.named_parameters()}
    new = online.state_dict()
    return {name: now if name in weights else new[name] for name, now in _mixed(average, online, decay).items()}


def counters_averaged(average, online, decay):
    """The integer counter was averaged and cut down to an integer, so that it lags behind and can stand still. A
    counter is copied."""
    old, new = average.state_dict(), online.state_dict()
    return {name: (decay * old[name] + (1 - decay) * new[name]).to(old[name].dtype) for name in old}


def counters_kept(average, online, decay):
    """The integer counter stays where it was. It is copied from the online network."""
    old = average.state_dict()
    return {n: now if now.is_floating_point() else old[n] for n, now in _mixed(average, online, decay).items()}


def counters_as_floats(average, online, decay):
    """The integer counter became a float. An average of integers is no integer: copy integer entries instead."""
    old, new = average.state_dict(), online.state_dict()
    return {name: decay * old[name] + (1 - decay) * new[name] for name in old}


def average_not_shrunk(average, online, decay):
    """The whole average stays and a part of the online network is added, so that the weights grow with every step. What
    comes in must take the place of what goes: the two factors add up to 1."""
    old, new = average.state_dict(), online.state_dict()
    return {n: old[n] + (1 - decay) * new[n] if old[n].is_floating_point() else new[n].clone() for n in old}


def plain_mean(average, online, decay):
    """This is the plain mean of the two networks: `decay` was not used."""
    return _mixed(average, online, 0.5)


def copied(average, online, decay):
    """This is the state of the online network. The average of many steps is smoother than any single one of them."""
    return {name: value.clone() for name, value in online.state_dict().items()}


def gradients_tracked(average, online, decay):
    """The new average still hangs on the autograd graph of both networks, which grows with every step until memory is
    full. Take the values without their history."""
    weights = {
        name: decay * a + (1 - decay) * o
        for (name, a), o in zip(average.named_parameters(), online.parameters(), strict=True)
    }
    return {name: weights.get(name, value) for name, value in _mixed(average, online, decay).items()}


def in_place(average, online, decay):
    """Your function changes one of the networks. The tensors of `state_dict()` are the network's own, and
    `load_state_dict` writes into them: make new ones, and leave both networks as they are."""
    state = average.state_dict()
    for name, new in online.state_dict().items():
        if new.is_floating_point():
            state[name].mul_(decay).add_(new, alpha=1 - decay)
        else:
            state[name].copy_(new)
    return state


def lerp(average, online, decay):
    pairs = zip(average.state_dict().items(), online.state_dict().values(), strict=True)
    return {name: new.lerp(old, decay) if new.is_floating_point() else new for (name, old), new in pairs}


def on_a_copy(average, online, decay):
    import copy

    after = copy.deepcopy(average)
    with torch.no_grad():
        for a, o in zip(after.parameters(), online.parameters(), strict=True):
            a.add_(o - a, alpha=1 - decay)
        for a, o in zip(after.buffers(), online.buffers(), strict=True):
            a.copy_(decay * a + (1 - decay) * o if a.is_floating_point() else o)
    return after.state_dict()


def through_numpy(average, online, decay):
    old, after = average.state_dict(), {}
    for name, new in online.state_dict().items():
        a, o = old[name].numpy(), new.numpy()
        mixed = (o + decay * (a - o)).astype(o.dtype) if o.dtype.kind == "f" else o.copy()
        after[name] = torch.as_tensor(mixed)
    return after


def by_dtype(average, online, decay):
    with torch.no_grad():
        old, new = average.state_dict(), online.state_dict()
        counters = {name: value.clone() for name, value in new.items() if not value.dtype.is_floating_point}
        floats = {name: old[name].double() * decay + new[name].double() * (1 - decay) for name in old.keys() - counters}
    return counters | {name: value.to(old[name].dtype) for name, value in floats.items()}


def cases(draw: Draw):
    for decay in (draw.number(0.55, 0.75), draw.number(0.85, 0.95), 0.99):
        features, count = draw.integer(2, 6), draw.integer(20, 90)
        average = Counted(draw.integer(0, 99), features, count)
        online = Counted(draw.integer(100, 199), features, count + draw.integer(30, 60))
        yield Case(f"decay {decay:g}, {features} features", (average, online, decay))
    for decay, label in ((0.0, "decay 0 copies all"), (1.0, "decay 1 keeps the floats")):
        average, online = Counted(draw.integer(0, 99), 3, 5), Counted(draw.integer(100, 199), 3, 8)
        yield Case(label, (average, online, decay), "ends")


def geometric(piece, draw: Draw):
    """With the online network at rest, n updates leave decay^n of the first difference."""
    decay, updates = draw.number(0.5, 0.9), draw.integer(5, 10)
    average, online = Counted(draw.integer(0, 99), 3, 1), Counted(draw.integer(100, 199), 3, 2)
    before = {name: value.clone() for name, value in average.state_dict().items()}
    for _ in range(updates):
        after = piece(average, online, decay)
        if set(after) != set(before):
            return f"the names are {sorted(after)}, and those of the state dictionary are {sorted(before)}"
        average.load_state_dict(after)
    for name, target in online.state_dict().items():
        if target.is_floating_point():
            wanted = target + decay**updates * (before[name] - target)
            worst = float((average.state_dict()[name] - wanted).abs().max())
            # A float64 entry has float64 digits, whatever the dtype of its neighbours.
            if not worst <= (1e-4 if target.dtype == torch.float32 else 1e-12):
                return (
                    f"after {updates} updates with decay {decay} towards a network at rest, '{name}' ({target.dtype}) "
                    f"is {worst:.3g} away from where {decay}^{updates} of the difference is left"
                )
    return None


EXERCISE = Exercise(
    chapter="mnist",
    kind="data",
    title="An average of the weights",
    statement=r"""
The weights jump from step to step, and samples jump with them. Samples are drawn from a second network, a slow average
of the first:

$$\bar\theta \leftarrow \gamma\, \bar\theta + (1 - \gamma)\, \theta .$$

Return the new state dictionary of the averaged network. A network is more than its weights: running statistics are
floating-point *buffers* and are averaged too. A counter is an integer, and an average of integers is none: copy it.
""",
    reference=ema_update,
    parts={"values": 4, "ends": 1, CARE: 1},
    cases=cases,
    properties=(Property("the difference shrinks geometrically", geometric),),
    wrong_answers=(
        wrong(decay_swapped),
        wrong(buffers_forgotten),
        wrong(buffers_left_out),
        wrong(buffers_copied),
        wrong(counters_averaged),
        wrong(counters_kept),
        wrong(counters_as_floats),
        wrong(average_not_shrunk),
        wrong(plain_mean),
        wrong(copied),
        wrong(gradients_tracked, "graph"),
        wrong(in_place, "modified"),
    ),
    right_answers=(right(lerp), right(on_a_copy), right(through_numpy), right(by_dtype)),
    hints=(
        "What is in `state_dict()` that is not in `parameters()`?",
        "Look at each entry's dtype before you average it.",
    ),
    source="Ho et al. 2020, section 4; Polyak & Juditsky 1992 for averages of iterates",
)
