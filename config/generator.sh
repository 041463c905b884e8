#!/bin/sh
# Gives the relay's unit a user namespace where systemd can make one in which users keep their numbers, by which the
# relay knows who asks on its control socket. systemd runs this whenever it reads its units (systemd.generator(7)), and
# waits for it: it asks no other process, name services neither.
#
# The unit cannot say it. An older systemd complains of the word each time, and has PrivateUsers=yes only: there all
# but root and the relay's own user look like nobody, the members of gate.admin-group too.
set -euf
into=$1/sallyport-relay.service.d

# A unit whose namespace cannot be made does not start: not where there are none, nor where a setting of the kernel
# (applied after this has run) will forbid them, nor in a container that has only some of the numbers.
# Not by `read`, which dash does an octet at a time: the kernel gives such a file out in one piece only.
most=$(cat /proc/sys/user/max_user_namespaces 2> /dev/null) || exit 0
[ "$most" -gt 0 ] || exit 0
none='^[^#;]*user[./]max_user_namespaces[[:space:]]*=[[:space:]]*0'
for folder in /etc /run /usr/local/lib /usr/lib; do
    # Also through links in it, as systemd-sysctl reads it.
    ! grep -qRsE "$none" "$folder/sysctl.d" || exit 0
done
! grep -qsE "$none" /etc/sysctl.conf /proc/cmdline || exit 0
read -r _ _ numbers < /proc/self/uid_map
[ "$numbers" = 4294967295 ] || exit 0

version=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
if [ "${version:-0}" -ge 258 ]; then
    users=full
elif [ "${version:-0}" -eq 257 ]; then
    # Numbers up to 65535 only: not where a user may have a higher one, as those of a directory do.
    users=identity
    sources=$(sed -n 's/^passwd:\([^#]*\).*/\1/p' /etc/nsswitch.conf 2> /dev/null) || true
    for source in $sources; do
        case $source in
        files | compat | systemd | \[*\]) ;;
        *) exit 0 ;;
        esac
    done
    while IFS=: read -r _ _ number _; do
        [ "${number:-65536}" -lt 65536 ] || exit 0
    done < /etc/passwd
    # Nor where the relay itself may run as such a number, of which no list of users needs to know.
    ! grep -qRsE '^User=0*[1-9][0-9]{4,}' /etc/systemd/system/sallyport-relay.service.d || exit 0
else
    exit 0
fi
mkdir -p "$into"
printf '[Service]\nPrivateUsers=%s\n' "$users" > "$into/10-users.conf"
