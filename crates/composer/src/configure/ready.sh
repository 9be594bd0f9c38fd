#!/bin/sh
# Says on every console, and in the log, that the system is up. The last service to start runs it.

. /etc/hatchery-release
line="HATCHERY-READY image=$IMAGE_NAME"
consoles=$(cat /sys/class/tty/console/active 2>/dev/null)
case " $consoles " in
	*" ttyS0 "*) ;;
	*) consoles="$consoles ttyS0" ;;
esac
for console in $consoles; do
	printf '\n%s\n' "$line" 2>/dev/null >"/dev/$console"
done 2>/dev/null
if command -v logger >/dev/null; then
	logger -t hatchery "$line" 2>/dev/null
fi
exit 0
