"""What the noise of an image is: found, made even and white, and undone again."""
