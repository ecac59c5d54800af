"""Benchmarks: eofs beside what one would take instead, all on this machine, run by ``make benchmark``."""
