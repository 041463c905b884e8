# Lays out the root file system of the container in the new folder INTO: sh rootfs.sh PROGRAM INTO, as root, on the
# distribution that the program is for. It holds the program, the libraries that it names, and the names of two
# accounts: no shell, no package manager, nothing that anybody could call. docs/container.md goes on from here.
set -eu
umask 022
program=$1 into=$2
# The relay's user and group, by number; gate.json and relay.json have it too.
relay=65532

mkdir "$into"
install -D -m 755 "$program" "$into/usr/bin/sallyport"
# "name => /path (address)" and, for the loader, "/path (address)".
ldd "$program" | sed -nE 's/^[^/]*(\/[^ ]+) \(0x.*/\1/p' | while read -r library; do
    install -D -m 755 "$library" "$into$library"
done

mkdir "$into/etc"
printf 'root:x:0:0:root:/:/nonexistent\nsallyport:x:%s:%s:relay:/:/nonexistent\n' $relay $relay > "$into/etc/passwd"
printf 'root:x:0:\nsallyport:x:%s:\nsallyport-admin:x:65533:\n' $relay > "$into/etc/group"
echo 'hosts: files dns' > "$into/etc/nsswitch.conf"

# Where something is mounted: the root is read-only.
for folder in dev proc tmp etc/sallyport run/sallyport sys/devices/system/cpu sys/fs/bpf/sallyport sys/kernel/btf \
    var/lib/sallyport/gate var/lib/sallyport/spool var/lib/sallyport/history var/lib/sallyport/secrets; do
    mkdir -p "$into/$folder"
done
for file in etc/hosts etc/resolv.conf sys/kernel/btf/vmlinux; do
    : > "$into/$file"
done
# The gate sees that these are as they must be, and has no part in what the relay mounts there.
chmod 700 "$into/var/lib/sallyport/gate"
for folder in spool history secrets; do
    chmod 700 "$into/var/lib/sallyport/$folder"
    chown $relay:$relay "$into/var/lib/sallyport/$folder"
done
