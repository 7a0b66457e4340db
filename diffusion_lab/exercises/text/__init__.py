"""Chapter 9, text embeddings: a schedule for words, losses without padding, self-conditioning, and the way back."""

from diffusion_lab.exercises.record import Notebook
from diffusion_lab.exercises.text import (
    clamp_x0,
    masked_x0_loss,
    round_to_words,
    rounding_loss,
    self_conditioned_x0,
    sqrt_alpha_bar,
)
from diffusion_lab.exercises.text.slots import slots

RECALL = r"""
Diffusion is made for numbers, and text is made of words. This chapter keeps the numbers: each word $v$ of a vocabulary
is a vector $e_v$ with $D$ entries, its *embedding*, and a sentence is a row of them, `(L, D)`. Noise is added to the
vectors as to any other data,

$$x_t = \sqrt{\bar\alpha_t}\; x_0 + \sqrt{1 - \bar\alpha_t}\; \varepsilon .$$

Three things are new.

**The data are a set of points.** Only some hundred vectors are words. With little noise the nearest word is the right
one and nothing can be learned; with more, a word alone is lost and its neighbours must help. The schedule spends its
steps there. An estimate of $x_0$ that lies between two words is no word: a second loss,
$-\log p(w \mid \hat x_0)$, pulls estimates to words, and while sampling they can be *clamped* to the nearest one.

**Sentences have lengths.** Short ones are filled up with padding, marked by a `mask` `(B, L)` that is True for words.
What stands at padded places must change no loss.

**The network guesses** $x_0$, and sees its own last guess $\tilde x_0$ as a second input. While sampling that is the
estimate of the step before. In training half of the samples get an estimate made on the spot, the others zeros.

You will write:

1. `sqrt_alpha_bar`: a schedule that is noisy from the start.
2. `round_to_words`: the nearest word of each vector.
3. `masked_x0_loss`: the error of the estimate, over words only.
4. `rounding_loss`: how surely the estimate is read as the right word.
5. `self_conditioned_x0`: the estimate of a network that sees its last one.
6. `clamp_x0`: the estimate moved to words, with the noise that agrees with it.

1 is the schedule. 5 asks the network, and 3 and 4 judge what it says; 2 tells them the words. 6 comes between the
network and your `ddim_step` of chapter 2.

Is the network any good? For words that come one by one the best answer is known: the mean of all words, weighted by how
likely each is given $x_t$. What a network recovers beyond it, it has read from the neighbours.
"""

CLOSING = r"""
The cell below trains a small transformer with your two losses on your schedule, asked through your
`self_conditioned_x0`, and draws sentences: each step clamps with your `clamp_x0` and goes on with your `ddim_step`.

Look at the sentences first: are they words in an order that the text could have? Then at two scores. "Words recovered
from noise" stands beside what the exact posterior of single words recovers: above it, the network has read the
neighbours. The share of familiar word pairs stands beside that of held-out sentences. Then leave out the clamping, or
give the rounding loss another weight, and see which score moves.
"""

NOTEBOOK = Notebook(
    chapter="text",
    recall=RECALL,
    exercises=(
        sqrt_alpha_bar.EXERCISE,
        round_to_words.EXERCISE,
        masked_x0_loss.EXERCISE,
        rounding_loss.EXERCISE,
        self_conditioned_x0.EXERCISE,
        clamp_x0.EXERCISE,
    ),
    slots=slots,
    closing=CLOSING,
)
