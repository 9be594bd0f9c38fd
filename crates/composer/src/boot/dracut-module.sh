#!/bin/bash
# A module for dracut (dracut.modules(7)): checking a medium of Hatchery's and keeping changes on it.

check() {
    return 255
}

depends() {
    echo dmsquash-live
}

installkernel() {
    instmods ext4 loop
}

install() {
    inst_multiple cat chroot dd head ln losetup mkdir mount od readlink rmdir sha256sum umount
    inst_simple "$moddir/media.sh" /lib/hatchery/media.sh
    inst_hook pre-mount 20 "$moddir/dracut-media.sh"
}
