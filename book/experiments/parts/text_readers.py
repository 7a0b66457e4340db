"""Chapter 9: readers of noisy words that know more and more of the text."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffusion_lab.data import Dataset, grammar
from diffusion_lab.levels import Level


class Words:
    """What is known exactly of words in noise, with more and more knowledge of the text.

    A reader takes sentences x (B, L, D) at one level, and `mask` (B, L), and returns the probability of each word of
    the vocabulary at each place, (B, L, V); word 0, padding, is left out.
    """

    def __init__(self, data: Dataset):
        self.data, self.vectors = data, data.info["vectors"][1:]
        ids, size = data.info["train_ids"], len(self.vectors)
        first, second = ids[:, :-1], ids[:, 1:]
        both = second > 0
        count = torch.zeros(size, size)
        count.index_put_((first[both] - 1, second[both] - 1), torch.ones(int(both.sum())), accumulate=True)
        lengths = data.info["train_mask"].sum(dim=1)
        end = torch.bincount(ids[torch.arange(len(ids)), lengths - 1] - 1, minlength=size).float()
        self.often = torch.bincount(ids[ids > 0] - 1, minlength=size) / (ids > 0).sum()
        # A pair that the text does not have is given the weight of one pair, shared out as words are.
        total = count.sum(dim=1) + end
        self.start = torch.bincount(ids[:, 0] - 1, minlength=size) / len(ids)
        self.start = 0.999 * self.start + 0.001 * self.often
        self.next = (count + self.often) / (total + 1)[:, None]
        self.end = (end + 0.1) / (total + 1)

    def log_likelihood(self, x: Tensor, level: Level) -> Tensor:
        """log p(x | word) without what all words share, (B, L, V)."""
        alpha, sigma = level.alpha.reshape(()).float(), level.sigma.reshape(()).float()
        return (alpha * (x @ self.vectors.T) - alpha**2 * self.vectors.square().sum(dim=1) / 2) / sigma**2

    def alone(self, x: Tensor, level: Level, mask: Tensor) -> Tensor:
        """Each word by itself, as often as in the text."""
        return (self.log_likelihood(x, level) + self.often.log()).softmax(dim=-1)

    def chain(self, x: Tensor, level: Level, mask: Tensor) -> Tensor:
        """Words of a Markov chain with the text's pairs of neighbours: forward and backward through the sentence."""
        log_like = self.log_likelihood(x, level)
        like = (log_like - log_like.amax(dim=-1, keepdim=True)).exp()

        def normal(p: Tensor) -> Tensor:
            return p / p.sum(dim=-1, keepdim=True)

        forward = [normal(self.start * like[:, 0])]
        for place in range(1, x.shape[1]):
            here = normal((forward[-1] @ self.next) * like[:, place] + 1e-30)
            forward.append(torch.where(mask[:, place, None], here, forward[-1]))
        backward = [self.end.expand_as(forward[0])]
        for place in range(x.shape[1] - 1, 0, -1):
            here = normal((like[:, place] * backward[0]) @ self.next.T + 1e-30)
            backward.insert(0, torch.where(mask[:, place, None], here, self.end.expand_as(here)))
        return normal(torch.stack(forward, dim=1) * torch.stack(backward, dim=1) + 1e-30)

    def memory(self, x: Tensor, level: Level, mask: Tensor) -> Tensor:
        """Sentences of the training text and no others; of the length that is asked for."""
        ids, real = self.data.info["train_ids"], self.data.info["train_mask"]
        log_like = torch.cat([torch.zeros_like(x[..., :1]), self.log_likelihood(x, level)], dim=-1)  # word 0: padding
        total = torch.zeros(len(x), len(ids))
        for place in range(x.shape[1]):
            total += log_like[:, place, ids[:, place]]
        same = mask.sum(dim=1)[:, None] == real.sum(dim=1)
        weight = total.masked_fill(~same, -math.inf).softmax(dim=1)  # (B, sentences)
        out = torch.zeros(*x.shape[:2], len(self.vectors) + 1)
        for place in range(x.shape[1]):
            out[:, place].index_add_(1, ids[:, place], weight)
        return out[..., 1:]

    def tell(self, count: int, generator: torch.Generator) -> Tensor:
        """Sentences (count, 8) of word numbers that the chain makes, of lengths as they come."""
        ids = torch.zeros(count, grammar.MAX_WORDS, dtype=torch.long)
        table = torch.cat([self.next, self.end[:, None]], dim=1)
        word = torch.multinomial(self.start, count, replacement=True, generator=generator)
        running = torch.ones(count, dtype=torch.bool)
        for place in range(ids.shape[1]):
            ids[:, place] = torch.where(running, word + 1, 0)
            word = torch.multinomial(table[word], 1, generator=generator)[:, 0]
            running = running & (word < len(self.vectors))
            word = word.clamp(max=len(self.vectors) - 1)
        return ids
