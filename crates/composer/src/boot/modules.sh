# Loading of kernel modules, shared by /init and /sbin/modprobe. Below this text follow two functions that were made for the modules of
# this archive: "match", which calls "load" for the modules a name or a device's modalias asks for, and "closure", which sets $modules
# to a module and all it needs, in order.

load() {
    modules=
    closure "$1"
    for module in $modules; do
        [ -d "/sys/module/$module" ] || insmod "/lib/modules/$module.ko" 2>/dev/null
    done
}

