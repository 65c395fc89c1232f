"""Image augmentation for training (DrQ).

Kostrikov et al., 2021, arXiv:2004.13649, with the brightness of Schwarzer et al., 2021. Only the
student sees these images; the teacher's answers are for the original states.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from rrl_agents.students.config import StudentConfig, check_shiftable

_LARGEST_DRAW = 2.0
"""Truncation of the normal distribution of brightness, in standard deviations."""


def augmented(states: jax.Array, student: StudentConfig, key: jax.Array) -> jax.Array:
    """Shift a batch of states and change its brightness, as the student's settings say.

    Args:
        states: uint8 or float32 [B, H, W, ...].
        student: Settings of the changes.
        key: JAX random key; each row gets its own draws.

    Returns:
        Same shape. Same type after a shift only; with brightness, float32 with pixels scaled to [0,
        1], because networks do not rescale floats.

    Raises:
        ValueError: When a shift is set, but states are vectors.
    """
    shift_key, intensity_key = jax.random.split(key)
    if student.random_shift > 0:
        check_shiftable(student, states.shape[1:])
        states = random_shift(states, student.random_shift, shift_key)
    if student.intensity_scale > 0.0:
        states = random_intensity(states, student.intensity_scale, intensity_key)
    return states


def random_shift(images: jax.Array, pixels: int, key: jax.Array) -> jax.Array:
    """Shift each image by up to `pixels` along both sides, filling the gap with its edge pixels.

    Args:
        images: [B, H, W, ...].
        pixels: Largest shift, at least 1. All 2 * pixels + 1 are equally likely; Dopamine never
            draws the last.
        key: JAX random key.

    Returns:
        Same shape and type.
    """
    sides = images.ndim - 3
    padding = [(0, 0), (pixels, pixels), (pixels, pixels)] + [(0, 0)] * sides
    padded = jnp.pad(images, padding, mode="edge")
    corners = jax.random.randint(key, (images.shape[0], 2), 0, 2 * pixels + 1)

    def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
        start = (corner[0], corner[1]) + (0,) * sides
        return jax.lax.dynamic_slice(image, start, images.shape[1:])

    shifted: jax.Array = jax.vmap(crop)(padded, corners)
    return shifted


def random_intensity(states: jax.Array, scale: float, key: jax.Array) -> jax.Array:
    """Multiply each state by its own brightness factor, 1 + scale * clip(normal, -2, 2).

    Args:
        states: uint8 or float32 [B, ...].
        scale: Above 0.
        key: JAX random key.

    Returns:
        float32 [B, ...]; uint8 is divided by 255 first.
    """
    draws = jax.random.normal(key, (states.shape[0],) + (1,) * (states.ndim - 1))
    values = states.astype(jnp.float32) / (255.0 if states.dtype == jnp.uint8 else 1.0)
    return values * (1.0 + scale * jnp.clip(draws, -_LARGEST_DRAW, _LARGEST_DRAW))
