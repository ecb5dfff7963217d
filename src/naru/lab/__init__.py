"""Emulated hosts on one machine: the tutorial, the demo and the test bed.

`namespaces` encloses everything, `hosts` makes hosts and wires them, `lab` starts a server and agents on them,
`cloud` talks to that server over HTTP, and `demo` boots instances and judges them by what `checks` expects.
"""


class LabError(Exception):
    """The lab cannot be had or did what it must not: one line with what, why, and what would help."""
