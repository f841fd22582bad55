"""Other people's methods, as short as they can be; each file names its source and what the method needs."""
