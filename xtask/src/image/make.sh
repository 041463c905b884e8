# Makes the disk: "$0" WORK FILES PACKAGE IMAGE EPOCH MIRROR [MIRROR OF SECURITY UPDATES], run as root. WORK is an
# empty folder of root's, FILES is config/image, PACKAGE the Debian package. It says each step before it is done.
set -eu
# Whoever builds it, everybody in it may read what is not secret.
umask 022
work=$1 files=$2 package=$3 image=$4 epoch=$5 mirror=$6 updates=${7-}
suite=trixie
root=$work/root
export SOURCE_DATE_EPOCH="$epoch" PATH="$PATH:/usr/sbin:/sbin"

step() { echo "image: $*" >&2; }
fail() { echo "image: $*" >&2; exit 1; }
inside() {
    unshare --mount --pid --net --ipc --uts --fork --kill-child --root "$root" --mount-proc \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}
# Puts a number of octets, least first, into a file: FILE OFFSET OCTETS NUMBER.
put() {
    number=$4 octets=
    for _ in $(seq "$3"); do
        octets="$octets$(printf '\\%03o' $((number % 256)))"
        number=$((number / 256))
    done
    # shellcheck disable=SC2059 # the octets are the format
    printf "$octets" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
# Puts a file at a MiB of the disk, if it is not larger than so many: FILE MIB MIBS.
place() {
    [ "$(stat -c %s "$1")" -le $(($3 << 20)) ] || fail "$1 is larger than its partition of $3 MiB"
    dd if="$1" of="$image" bs=1M seek="$2" conv=notrunc,sparse status=none
}

step "Debian $suite, and the updates of today"
set -- "deb $mirror $suite main" "deb $mirror $suite-updates main"
if [ -n "$updates" ]; then
    set -- "$@" "deb $updates $suite-security main"
else
    step 'WITHOUT SECURITY UPDATES: apt is configured with no mirror of them'
fi
packages=systemd-sysv,systemd-resolved,systemd-timesyncd,udev,kmod,linux-image-amd64,initramfs-tools,busybox,zstd
packages=$packages,e2fsprogs,fdisk,login,iproute2,ca-certificates,nano,openssh-server
cp -r "$files/system" "$work/files"
chmod -R u+w,a+rX "$work/files"
# The files lie there before the packages are set up, so that users and the first file system know them.
mmdebstrap --mode=root --variant=essential --include="$packages" --aptopt='Apt::Install-Recommends "false"' \
    --essential-hook="cp -r --no-preserve=ownership '$work/files/.' \"\$1\"" \
    "$suite" "$root" "$@" > "$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; fail mmdebstrap; }

step 'the package'
cp "$package" "$root/sallyport.deb"
inside dpkg -i /sallyport.deb > "$work/log" 2>&1 || { cat "$work/log" >&2; fail dpkg; }
rm "$root/sallyport.deb"

step 'what runs, and what does not'
inside systemctl --quiet enable systemd-networkd sallyport-setup
# What is for disks and packages that the image has not; and the ways in that systemd makes by itself (AF_VSOCK).
inside systemctl --quiet mask dpkg-db-backup.timer fstrim.timer e2scrub_all.timer e2scrub_reap.service
mkdir -p "$root/etc/systemd/system-generators"
ln -s /dev/null "$root/etc/systemd/system-generators/systemd-ssh-generator"
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/resolv.conf" "$root/var/lib/dbus/machine-id"
ln -s ../run/systemd/resolve/resolv.conf "$root/etc/resolv.conf"
: > "$root/etc/machine-id"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/* "$root"/var/log/* "$root"/run/* "$root"/tmp/*
mkdir -p "$root/state" "$root/var/log/journal" "$root/etc/systemd/network"
# What a boot would make in folders that it cannot write.
inside systemd-tmpfiles --create --boot --prefix=/var --exclude-prefix=/var/log/journal > "$work/log" 2>&1 ||
    { cat "$work/log" >&2; fail systemd-tmpfiles; }

step 'the partitions: boot, system, state'
cp "$root"/boot/vmlinuz-* "$work/vmlinuz"
cp "$root"/boot/initrd.img-* "$work/initrd.img"
mkfs.vfat -F 32 -n SALLYPORT -i 5A117047 -C "$work/boot" $((254 << 10)) > /dev/null
printf 'search.fs_label SALLYPORT root\nconfigfile ($root)/grub.cfg\n' > "$work/first.cfg"
modules='part_gpt fat search search_label normal configfile linux boot'
# shellcheck disable=SC2086 # words
grub-mkimage -O x86_64-efi -c "$work/first.cfg" -p /grub -o "$work/BOOTX64.EFI" $modules
# shellcheck disable=SC2086 # words
grub-mkimage -O i386-pc -c "$work/first.cfg" -p /grub -o "$work/bios" biosdisk $modules
mmd -i "$work/boot" ::/EFI ::/EFI/BOOT
mcopy -m -i "$work/boot" "$work/BOOTX64.EFI" ::/EFI/BOOT/
mcopy -m -i "$work/boot" "$files/grub.cfg" "$work/vmlinuz" "$work/initrd.img" ::/
mksquashfs "$root" "$work/system" -comp zstd -Xcompression-level 12 -noappend -no-progress -quiet \
    -e "$root/boot" > /dev/null
mkdir -p "$work/state/config" "$work/state/network" "$work/state/lib" "$work/state/systemd" "$work/state/journal"
truncate -s 2046M "$work/ext4"
mkfs.ext4 -q -L sallyport-state -E root_owner=0:0 -d "$work/state" "$work/ext4"

step 'the disk'
rm -f "$image"
truncate -s 3G "$image"
sfdisk --quiet "$image" < "$files/layout.sfdisk"
# The sector that a BIOS reads names the next, by its number, and that one the rest (GRUB's boot.S and diskboot.S).
cp /usr/lib/grub/i386-pc/boot.img "$work/mbr"
put "$work/mbr" 92 8 2048
put "$work/mbr" 102 2 $((0x9090))
put "$work/bios" 500 8 2049
dd if="$work/mbr" of="$image" bs=440 count=1 conv=notrunc status=none
place "$work/bios" 1 1
place "$work/boot" 2 254
place "$work/system" 256 768
place "$work/ext4" 1024 2046
chown --reference="$files" "$image"
step "system $(($(stat -c %s "$work/system") >> 20)) MiB, boot $((($(stat -c %s "$work/vmlinuz") + $(stat -c %s "$work/initrd.img")) >> 20)) MiB"
