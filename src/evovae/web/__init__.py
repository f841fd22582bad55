"""The page that `evovae serve` opens, and the HTTP API behind it: needs the `web` extra."""
