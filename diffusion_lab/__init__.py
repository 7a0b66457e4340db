"""A course on diffusion models, and the reference implementation that it is graded against."""

__version__ = "0.1.0"
