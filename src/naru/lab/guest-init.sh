#!/bin/busybox sh
# The first process of a virtual machine: network cards, an address for each by DHCP, and a shell on the console.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /lib/modules/*.ko; do insmod "$module"; done
hostname "$(sed -n 's/.*naru\.hostname=\([^ ]*\).*/\1/p' /proc/cmdline)"
ip link set lo up

# A DHCP client for each card, and none for one that was taken away. Its pid file bears the card's name and its number, which is never given twice.
look() {
  for file in /run/*.pid; do
    card=${file##*/} card=${card%.pid}
    [ "$(cat "/sys/class/net/${card%.*}/ifindex" 2>/dev/null)" = "${card#*.}" ] && continue
    [ ! -s "$file" ] || kill "$(cat "$file")"
    rm -f "$file"
  done
  for path in /sys/class/net/eth*; do
    device=${path##*/}
    file=/run/$device.$(cat "$path/ifindex").pid
    [ -e "$path" ] && [ ! -e "$file" ] || continue
    ip link set "$device" up
    udhcpc -b -S -p "$file" -i "$device" -s /bin/configure -A 1 -T 1 -O mtu -O staticroutes -x "hostname:$(hostname)"
  done
}

look
echo "naru: booted as $(hostname)"
while :; do sleep 1; look; done &
while :; do setsid sh -c 'exec sh </dev/ttyS0 >/dev/ttyS0 2>&1'; sleep 1; done
