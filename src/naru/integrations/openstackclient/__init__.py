"""Commands in the official `openstack` client: `openstack network pool`, `pick`, `forecast` and `autogrow`.

They stand in the client's own group of commands, `openstack.network.v2` (pyproject.toml), so they come with the package, and with the
client's `--os-cloud` and `--os-network-api-version`. Nothing but the client imports them: what they need is the extra `client`.
"""
