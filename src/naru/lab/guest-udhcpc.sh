#!/bin/busybox sh
# What udhcpc runs in a virtual machine when its lease changes: udhcpc gives it in the environment.
case $1 in
deconfig) ip addr flush dev "$interface" ;;
bound | renew)
  [ -z "${mtu:-}" ] || ip link set dev "$interface" mtu "$mtu"
  ip addr flush dev "$interface"
  ip addr add "$ip/$mask" dev "$interface"
  set -- ${staticroutes:-${router:+0.0.0.0/0 ${router%% *}}} # a client that gets classless routes ignores the router option: RFC 3442
  metric=$(cat "/sys/class/net/$interface/ifindex") # of the default routes of several cards, that of the first is taken
  while [ $# -ge 2 ]; do ip route add "$1" via "$2" dev "$interface" onlink metric "$metric"; shift 2; done
  : >/etc/resolv.conf
  for server in ${dns:-}; do echo "nameserver $server" >>/etc/resolv.conf; done
  echo "naru: $interface has $ip/$mask"
  ;;
esac
