#!/bin/busybox sh
# The first process of a virtual machine: network cards, an address for each by DHCP, and a shell on the console.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /lib/modules/*.ko; do insmod "$module"; done
hostname "$(sed -n 's/.*naru\.hostname=\([^ ]*\).*/\1/p' /proc/cmdline)"
ip link set lo up
for device in /sys/class/net/eth*; do
  device=${device##*/}
  ip link set "$device" up
  udhcpc -b -S -i "$device" -s /bin/configure -A 1 -T 1 -O mtu -O staticroutes -x "hostname:$(hostname)"
done
echo "naru: booted as $(hostname)"
while :; do setsid sh -c 'exec sh </dev/ttyS0 >/dev/ttyS0 2>&1'; sleep 1; done
