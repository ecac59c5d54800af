"""Mount a search result of Earth-observation products as a read-only file system."""

__version__ = "0.1.0"
