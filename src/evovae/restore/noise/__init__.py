"""What the noise of an image is: found, made even and white, and undone again."""

KINDS = ("auto", "white", "poisson", "speckle", "rician")
"""What `noise` may be by name, beside a `NoiseModel`: "auto" is found in the image."""
