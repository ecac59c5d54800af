"""A provider to try eofs with, and to test it: no account, no network, ten products, five of them on tape."""

from eofs.demo.replies import Reply, Request
from eofs.demo.result import ten_products
from eofs.demo.safe import write_safe
from eofs.demo.server import DemoProvider

__all__ = ["DemoProvider", "Reply", "Request", "ten_products", "write_safe"]
