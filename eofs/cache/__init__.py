"""The disk cache, and the records that outlive the program."""

from eofs.cache.disk import Cache
from eofs.cache.records import Records

__all__ = ["Cache", "Records"]
