#!/bin/sh
# Starts a shell in the Gentoo Prefix of this folder, or runs the command that follows. Written by Hatchery.
# @NOTICE@

EPREFIX='@EPREFIX@'

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd -P)
there=$(CDPATH= cd -- "$EPREFIX" 2>/dev/null && pwd -P)
if [ "$here" != "$there" ]; then
	echo "This prefix was made for the folder $EPREFIX and is in $here: its programs look for their files there." >&2
	echo "Move it to that folder, or order it again for this one." >&2
	exit 1
fi

# A prefix with a C library of its own finds libraries outside of its default folders by this cache.
if [ -x "$EPREFIX/sbin/ldconfig" ] && [ ! -e "$EPREFIX/etc/ld.so.cache" ]; then
	"$EPREFIX/sbin/ldconfig" -X || echo "The cache of libraries could not be made; some programs may not start." >&2
fi

if [ $# -eq 0 ]; then
	if [ -x "$EPREFIX/bin/bash" ]; then
		SHELL=$EPREFIX/bin/bash
	else
		SHELL=${SHELL:-/bin/sh}
		echo "This prefix has no bash, so the shell is the host's $SHELL." >&2
	fi
	set -- "$SHELL" -l
fi

# The host's own folders come last, for what the prefix has not.
path=$EPREFIX/usr/local/bin:$EPREFIX/usr/sbin:$EPREFIX/usr/bin:$EPREFIX/sbin:$EPREFIX/bin:/usr/sbin:/usr/bin:/sbin:/bin
set -- EPREFIX="$EPREFIX" PATH="$path" HOME="$HOME" SHELL="${SHELL:-/bin/sh}" "$@"
# Other variables of the host stay outside: LD_LIBRARY_PATH and the like would bring its libraries in.
for name in TERM USER LOGNAME LANG DISPLAY XAUTHORITY WAYLAND_DISPLAY XDG_RUNTIME_DIR SSH_AUTH_SOCK SSH_AGENT_PID TMPDIR; do
	eval "value=\${$name-}"
	[ -z "$value" ] || set -- "$name=$value" "$@"
done
exec env -i "$@"
