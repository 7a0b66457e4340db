"""What is drawn of each exercise: one scene each, which a learner's function and the reference both play in."""

from __future__ import annotations

from functools import cache

from diffusion_lab.grading.notebook.scenes.stage import Scene


@cache
def scenes() -> dict[str, Scene]:
    """Exercise -> its scene; every exercise of the course has one."""
    from diffusion_lab.grading.notebook.scenes import clouds, distances, heartbeats, land, points, signals, tokens

    return {
        name: scene
        for module in (points, distances, signals, heartbeats, clouds, land, tokens)
        for name, scene in module.SCENES.items()
    }
