"""The engine: a product is ordered, waited for and brought into the cache, and read from there."""

from eofs.fetch.engine import Engine

__all__ = ["Engine"]
