"""Naru: a network service that chooses the network, wires real hosts, and explains every hop."""

__version__ = "0.1.0"
