"""Chapter 12, points: a schedule, points on meshes, clouds of any size, the centre, and a distance without an order."""

from diffusion_lab.exercises.points import (
    area_points,
    centred_step,
    chamfer,
    padded_loss,
    sigmoid_alpha_bar,
)
from diffusion_lab.exercises.points.slots import slots
from diffusion_lab.exercises.record import Notebook

RECALL = r"""
A cloud of points is a set: $P$ points in space, written as a tensor $(B, P, 3)$ because a computer has to write them in
some order. The order means nothing. Everything in this chapter follows from that.

**Where clouds come from.** A mesh is a list of triangles, and a scanner sees surfaces. Points on a surface are drawn by
area, so that a cloud shows the shape and not how somebody cut it into triangles. Without meshes on your disk the shapes
are tori, ellipsoids, knots and chairs drawn by formula, and the distance of any point to the surface is known exactly.

**Size and place.** Before training, clouds are moved and scaled. One centre and one scale for all shapes keep what is
large and what is small. One for each shape throws that away, and no score can ask for it afterwards.

**A network without an order.** If you shuffle the points, the answer must be shuffled in the same way, and be the same
otherwise: the network is *equivariant*. A transformer without positions is: each layer treats all points alike, and
attention is a sum over them. It also takes clouds of every size, with a mask where a batch is padded.

**Distances without an order.** Comparing point $i$ with point $i$ means nothing. The Chamfer distance asks each point
for its nearest neighbour in the other cloud, both ways. The earth mover's distance moves one cloud to the other, each
point to one of its own, and sees uneven clouds that Chamfer overlooks.

**A set of sets.** Samples are judged as a set against a set. Put samples and held-out shapes together and ask each for
its nearest neighbour: if half of the answers are of its own kind, nobody can tell the two apart.

You will write:

1. `sigmoid_alpha_bar`: a schedule along a logistic curve.
2. `area_points`: points on a mesh, by area.
3. `padded_loss`: learning from clouds of different sizes.
4. `centred_step`: a step that leaves a cloud where it is.
5. `chamfer`: how far two clouds are from each other.
"""

CLOSING = r"""
The cell below trains a network on clouds of 128 points with your `padded_loss`, on the levels of your
`sigmoid_alpha_bar`. The step is your `ddim_step` from chapter 2, dropped labels and averaged weights are yours from
chapter 5, where you have written them. The clouds of this run are not centred one by one, since then a tall chair and a
low one would stand differently on the floor; so your `centred_step` is not used in it.

In the picture look first at the torus and the knot: is there a hole, and does the tube close? Then read the scores. A
1-NN accuracy of 0.5 would say that samples and held-out shapes cannot be told apart, and the number beside it is what
real shapes of the training set reach. The distance to the nearest surface says how thin the surfaces are.
"""

NOTEBOOK = Notebook(
    chapter="points",
    recall=RECALL,
    exercises=(
        sigmoid_alpha_bar.EXERCISE,
        area_points.EXERCISE,
        padded_loss.EXERCISE,
        centred_step.EXERCISE,
        chamfer.EXERCISE,
    ),
    slots=slots,
    closing=CLOSING,
)
