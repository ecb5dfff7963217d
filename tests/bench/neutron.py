"""What real Neutron was measured to do, elsewhere and on another day: something to stand beside, not a race.

Neutron 29.0.0 and Keystone 30.0.0 from PyPI, unmodified: ML2 with Open vSwitch, MariaDB 10.11, RabbitMQ 3.10, two API workers,
on a machine with 2 cores and 24 GiB, Debian 12; the load came from a Python client on the same cores.
"""

SOURCE = "Neutron 29, 2 cores"

CREATES_PER_S = {1: 8.5, 8: 15.3}
FULL_TO_EMPTY = {1: 0.28, 8: 0.29}  # the rate at 5,500 ports in the subnet by the rate at up to 600 (2.38 of 8.55, 4.38 of 15.3)
START_S = 3.7
IDLE_MIB = 688  # PSS of its nine processes, without database and broker
# p50 in ms, at 10,000 ports
LIST_MS = 9299
LIST_IDS_MS = 4848
FILTER_MS = {"device_id": 15.7, "name": 15.7, "address": 12.8}
SHOW_MS = 11.7
BULK_MS = 16_700  # at 1,500 to 2,000 ports in the subnet
