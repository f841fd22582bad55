"""The commands of ``evovae``, by what they are about."""
