#!/bin/sh
# What `busybox udhcpc` runs inside an instance's namespace when its lease changes: the instance's own network set-up.
# udhcpc gives the lease in the environment (interface, ip, mask, router, dns, mtu, staticroutes, serverid);
# the agent gives NARU_INSTANCE (the instance's directory) and NARU_WAKE (a FIFO: one line makes the agent look here).
set -eu
lease=$NARU_INSTANCE/$interface.lease

# quoted A B C -> "A", "B", "C"
quoted() { for word; do printf '%s"%s"' "${comma-}" "$word"; comma=', '; done; }

# routes DESTINATION NEXTHOP … -> one `ip` batch line for each pair
routes() { while [ $# -ge 2 ]; do echo "route replace $1 via $2 dev $interface proto dhcp onlink"; shift 2; done; }

case $1 in
deconfig)
  rm -f "$lease"
  ip -batch - <<END
link set dev lo up
link set dev $interface up
addr flush dev $interface scope global
END
  ;;
bound | renew)
  ip route flush dev "$interface" proto dhcp
  # A client that gets classless routes ignores the router option: RFC 3442.
  ip -batch - <<END
${mtu:+link set dev $interface mtu $mtu}
addr replace $ip/$mask broadcast + dev $interface
$(routes ${staticroutes:-${router:+0.0.0.0/0 ${router%% *}}})
END
  if [ -n "${dns:-}" ]; then
    for server in $dns; do echo "nameserver $server"; done >"$NARU_INSTANCE/resolv.conf"
  fi
  cat >"$lease.new" <<END
{
  "address": "$ip/$mask",
  "router": "${router:-}",
  "dns": [$(quoted ${dns:-})],
  "mtu": ${mtu:-null},
  "routes": [$(quoted ${staticroutes:-})],
  "server": "${serverid:-}",
  "leased_at": $(date +%s.%3N)
}
END
  mv "$lease.new" "$lease"
  # Opened for reading too, so that this does not wait where no agent is listening.
  if [ -p "$NARU_WAKE" ]; then echo lease 1<>"$NARU_WAKE"; fi
  ;;
esac
