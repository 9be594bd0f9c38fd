# What a package's pkg_* functions find around them: the commands of PMS 12.3 that are allowed there, and the order of things.
# docs/composer.md has the table of the commands. One that an EAPI does not have yet is not defined, as an eclass may bring its own.
# Run as `bash --noprofile --norc /tmp/portage/phase-lib.bash PHASE...` with, in /tmp/portage: `environment` (the package's own, plain),
# `settings` (what this system says instead), the fifos `query` and `answer`. It leaves `environment.new` and `messages` there.

# What newer versions of bash do by default changes what scripts mean (bugs 881383, 907061). Older bashes have no such options.
shopt -u patsub_replacement globskipdots 2> /dev/null
shopt -s extglob
source /tmp/portage/environment
shopt -u extglob
unset LD_PRELOAD LD_LIBRARY_PATH BASH_ENV ENV CDPATH GLOBIGNORE TZ
unset -v "${!SANDBOX_@}"
IFS=$' \t\n'
source /tmp/portage/settings
__hatchery_dir=/tmp/portage
__hatchery_eapi=${EAPI:-0}
# The bash that the EAPI was written for (PMS 6); the newest needs no such word.
case ${__hatchery_eapi} in
	[0-5]) BASH_COMPAT=3.2 ;;
	[67]) BASH_COMPAT=4.2 ;;
	8) BASH_COMPAT=5.0 ;;
esac
__hatchery_nonfatal=

# Whether the package's EAPI is this one or a later one.
__hatchery_since() { [[ ${__hatchery_eapi} != [0-9] || ${__hatchery_eapi} -ge $1 ]]; }
__hatchery_banned() { __hatchery_since "$1" && die "${FUNCNAME[1]} is banned in EAPI ${EAPI}"; }

# --- failing ---------------------------------------------------------------------------------------------------------------------

die() {
	local status=$? patient=
	if [[ $1 == -n ]] && __hatchery_since 6; then
		patient=1
		shift
	fi
	if [[ ${patient} && ${__hatchery_nonfatal} ]]; then
		[[ $* ]] && eerror "$*"
		return $(( status ? status : 1 ))
	fi
	local frame
	{
		printf ' * ERROR: %s/%s failed (%s): %s\n' "${CATEGORY}" "${PF}" "${EBUILD_PHASE_FUNC:-${EBUILD_PHASE}}" "${*:-(no error message)}"
		for (( frame = 1; frame < ${#FUNCNAME[@]} - 1; frame++ )); do
			printf ' *   in %s\n' "${FUNCNAME[frame]}"
		done
	} >&2
	: > "${__hatchery_dir}/died"
	# A subshell must not be all that ends.
	[[ ${BASHPID} != "$$" ]] && kill -TERM "$$"
	exit 1
}
# Commands of PMS fail alone before EAPI 4; from then on they take all with them, unless under nonfatal.
__helpers_die() {
	local status=$?
	if __hatchery_since 4 && [[ ! ${__hatchery_nonfatal} ]]; then
		die "$@"
	fi
	eerror "$*"
	return $(( status ? status : 1 ))
}

assert() {
	local status=( "${PIPESTATUS[@]}" ) each
	__hatchery_banned 9
	for each in "${status[@]}"; do
		[[ ${each} == 0 ]] || die "${@:-a command of a pipe failed}"
	done
}
if __hatchery_since 4; then
	nonfatal() {
		[[ $# -ge 1 ]] || die "nonfatal: expected a command"
		local __hatchery_nonfatal=1
		"$@"
	}
fi
if __hatchery_since 9; then
	pipestatus() {
		local status=( "${PIPESTATUS[@]}" ) each last=0
		[[ $# -eq 0 || ( $# -eq 1 && $1 == -v ) ]] || die "usage: pipestatus [-v]"
		for each in "${status[@]}"; do
			[[ ${each} == 0 ]] || last=${each}
		done
		[[ $1 == -v ]] && echo "${status[*]}"
		return "${last}"
	}
	edo() {
		[[ $# -ge 1 ]] || die "edo: expected a command"
		einfo "$*"
		"$@" || __helpers_die "edo: failed to run command: $1"
	}
fi

# --- telling ---------------------------------------------------------------------------------------------------------------------

__hatchery_say() {
	local class=$1 end=$2 line rest
	shift 2
	printf -v rest '%b' "$*"
	rest+=$'\n'
	# (A loop of `read` over a here-string would ask the kernel for each single byte.)
	while [[ ${rest} ]]; do
		line=${rest%%$'\n'*}
		rest=${rest#*$'\n'}
		printf ' * %s%b' "${line}" "${end}" >&2
		if [[ ${class} ]]; then
			printf '%s\x1f%s\x1f%s\n' "${class}" "${EBUILD_PHASE}" "${line}" >> "${__hatchery_dir}/messages"
		fi
	done
}
einfon() { __hatchery_say '' '' "$@"; }
einfo() { __hatchery_say '' '\n' "$@"; }
elog() { __hatchery_say LOG '\n' "$@"; }
ewarn() { __hatchery_say WARN '\n' "$@"; }
eqawarn() { __hatchery_say '' '\n' "$@"; }
eerror() { __hatchery_say ERROR '\n' "$@"; }
ebegin() { __hatchery_say '' ' ...\n' "$@"; }
eend() {
	[[ $1 ]] || die "eend: expected an exit status"
	local status=$1
	if [[ ${status} != 0 ]]; then
		shift
		[[ $* ]] && eerror "$*"
		printf ' [ !! ]\n' >&2
	fi
	return "${status}"
}
debug-print() { :; }
debug-print-function() { :; }
debug-print-section() { :; }

# --- asking ----------------------------------------------------------------------------------------------------------------------

# Sets REPLY to the composer's answer.
__hatchery_ask() {
	local IFS=$'\x1f'
	printf '%s\n' "$*" > "${__hatchery_dir}/query"
	IFS= read -r REPLY < "${__hatchery_dir}/answer"
}
__hatchery_atom() {
	# There is one root here: the target is also what builds and what runs.
	case $1 in
		--host-root)
			[[ ${__hatchery_eapi} == [56] ]] || die "${FUNCNAME[1]}: $1 is not supported in EAPI ${EAPI}"
			shift
			;;
		-b | -d | -r)
			__hatchery_since 7 || die "${FUNCNAME[1]}: $1 is not supported in EAPI ${EAPI}"
			shift
			;;
	esac
	[[ $# -eq 1 ]] || die "${FUNCNAME[1]}: expected one atom, got: $*"
	__hatchery_ask "${FUNCNAME[1]}" "$1"
	[[ ${REPLY} != '!'* ]] || die "${FUNCNAME[1]}: ${REPLY#!}"
}
has_version() {
	local REPLY
	__hatchery_atom "$@"
	[[ ${REPLY} ]]
}
best_version() {
	local REPLY
	__hatchery_atom "$@"
	[[ ${REPLY} ]] && printf '%s\n' "${REPLY}"
}

has() {
	local wanted=$1 each
	shift
	for each; do
		[[ ${each} == "${wanted}" ]] && return 0
	done
	return 1
}
hasv() {
	__hatchery_banned 8
	has "$@" && printf '%s\n' "$1"
}
hasq() {
	__hatchery_banned 8
	has "$@"
}
use() {
	case $1 in
		!*) ! has "${1#!}" ${USE} ;;
		*) has "$1" ${USE} ;;
	esac
}
usev() {
	[[ $# -le 1 ]] || __hatchery_since 8 || die "usev: a second argument is not supported in EAPI ${EAPI}"
	use "$1" && printf '%s\n' "${2:-${1#!}}"
}
useq() {
	__hatchery_banned 8
	use "$1"
}
if __hatchery_since 5; then
	usex() {
		if use "$1"; then
			printf '%s%s\n' "${2-yes}" "$4"
		else
			printf '%s%s\n' "${3-no}" "$5"
		fi
	}
fi
__hatchery_option() {
	local on=$1 off=$2 flag=$3 name=${4:-${3#!}} value=
	[[ $# -ge 5 && ( $5 || ${__hatchery_eapi} != [0-3] ) ]] && value="=$5"
	if use "${flag}"; then
		printf '%s\n' "--${on}-${name}${value}"
	else
		printf '%s\n' "--${off}-${name}"
	fi
}
use_with() { __hatchery_option with without "$@"; }
use_enable() { __hatchery_option enable disable "$@"; }
if __hatchery_since 6; then
	in_iuse() {
		[[ $1 ]] || die "in_iuse: expected a flag"
		local known=( ${IUSE_EFFECTIVE:-${IUSE}} )
		has "$1" "${known[@]#[+-]}"
	}
	get_libdir() {
		local name=LIBDIR_${ABI}
		[[ ${ABI} && ${!name} ]] && printf '%s\n' "${!name}" || printf 'lib\n'
	}
fi

# --- versions --------------------------------------------------------------------------------------------------------------------

# Sets `parts` to separator 0, component 1, separator 1, component 2 ... (PMS 12.3.14).
__hatchery_split() {
	local rest=$1
	parts=()
	while [[ ${rest} ]]; do
		[[ ${rest} =~ ^([^A-Za-z0-9]*)([0-9]+|[A-Za-z]+|)(.*)$ ]]
		parts+=( "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" )
		rest=${BASH_REMATCH[3]}
	done
}
# Sets `first` and `last` from a range, with `last` at most $2.
__hatchery_range() {
	[[ $1 =~ ^([0-9]+)(-([0-9]*))?$ ]] || die "${FUNCNAME[1]}: not a range: $1"
	first=${BASH_REMATCH[1]}
	if [[ ! ${BASH_REMATCH[2]} ]]; then
		last=${first}
	else
		last=${BASH_REMATCH[3]:-$2}
	fi
	(( last >= first || last == $2 )) || die "${FUNCNAME[1]}: the range ends before it starts: $1"
	(( last > $2 )) && last=$2
	return 0
}
if __hatchery_since 7; then
	ver_cut() {
		local parts first last IFS=
		__hatchery_split "${2-${PV}}"
		__hatchery_range "$1" $(( ${#parts[@]} / 2 ))
		local from=$(( first ? first * 2 - 1 : 0 ))
		(( last * 2 > from )) && printf '%s' "${parts[*]:from:last * 2 - from}"
		printf '\n'
	}
	ver_rs() {
		local parts first last at IFS= version=${PV}
		(( $# % 2 )) && version=${!#}
		__hatchery_split "${version}"
		while (( $# >= 2 )); do
			__hatchery_range "$1" $(( ${#parts[@]} / 2 - 1 ))
			for (( at = first; at <= last; at++ )); do
				# An absent separator in front of all stays absent.
				[[ ${at} == 0 && ! ${parts[0]} ]] || parts[at * 2]=$2
			done
			shift 2
		done
		printf '%s\n' "${parts[*]}"
	}
	ver_test() {
		local REPLY left=${PVR}
		if [[ $# -eq 3 ]]; then
			left=$1
			shift
		fi
		[[ $# -eq 2 ]] || die "ver_test: expected [version] operator version"
		[[ $1 == -@(eq|ne|lt|le|gt|ge) ]] || die "ver_test: not an operator: $1"
		__hatchery_ask ver_test "${left}" "$2"
		case ${REPLY} in
			lt | eq | gt) ;;
			*) die "ver_test: ${REPLY#!}" ;;
		esac
		case $1 in
			-eq) [[ ${REPLY} == eq ]] ;;
			-ne) [[ ${REPLY} != eq ]] ;;
			-lt) [[ ${REPLY} == lt ]] ;;
			-le) [[ ${REPLY} != gt ]] ;;
			-gt) [[ ${REPLY} == gt ]] ;;
			-ge) [[ ${REPLY} != lt ]] ;;
		esac
	}
fi
if __hatchery_since 9; then
	ver_replacing() {
		[[ $# -eq 2 ]] || die "ver_replacing: expected operator version"
		local each
		for each in ${REPLACING_VERSIONS}; do
			ver_test "${each}" "$@" && return 0
		done
		return 1
	}
fi

# --- changing D ------------------------------------------------------------------------------------------------------------------

__hatchery_or_die() { "$@" || __helpers_die "${FUNCNAME[1]} failed: $*"; }
into() { __hatchery_into=$1; }
insinto() { __hatchery_insinto=$1; }
exeinto() { __hatchery_exeinto=$1; }
insopts() { __hatchery_insopts=( "$@" ); }
exeopts() { __hatchery_exeopts=( "$@" ); }
diropts() { __hatchery_diropts=( "$@" ); }
__hatchery_insopts=( -m0644 )
__hatchery_exeopts=( -m0755 )
__hatchery_diropts=( -m0755 )
dodir() { __hatchery_or_die install -d "${__hatchery_diropts[@]}" -- "${@/#/${ED%/}/}"; }
keepdir() {
	dodir "$@" || return
	local each
	for each; do
		: > "${ED%/}/${each#/}/.keep_${CATEGORY}_${PN}-${SLOT%/*}" || __helpers_die "keepdir ${each} failed"
	done
}
dosym() {
	local relative=
	if [[ $1 == -r ]]; then
		__hatchery_since 8 || die "dosym: -r is not supported in EAPI ${EAPI}"
		relative=-r
		shift
	fi
	[[ $# -eq 2 ]] || __helpers_die "dosym: expected target and name" || return
	local target=$1 name=${ED%/}/${2#/}
	[[ ${relative} ]] && target=${ED%/}/${target#/}
	mkdir -p -- "${name%/*}" && __hatchery_or_die ln -sfn ${relative} -- "${target}" "${name}"
}
dohard() {
	__hatchery_banned 4
	__hatchery_or_die ln -f -- "${ED%/}/${1#/}" "${ED%/}/${2#/}"
}
__hatchery_in_image() {
	local command=$1 each args=()
	shift
	for each; do
		case ${each} in
			/*) args+=( "${ED%/}${each}" ) ;;
			*) args+=( "${each}" ) ;;
		esac
	done
	"${command}" "${args[@]}" || __helpers_die "${FUNCNAME[1]} failed: $*"
}
fowners() { __hatchery_in_image chown "$@"; }
fperms() { __hatchery_in_image chmod "$@"; }
__hatchery_install() {
	local dir=${ED%/}/${1#/} name=$2 file=$3
	shift 3
	if [[ ${file} == - ]]; then
		file=${T}/.stdin
		cat > "${file}" || __helpers_die "cannot read stdin" || return
	fi
	install -d -- "${dir}" && install "$@" -- "${file}" "${dir}/${name}" || __helpers_die "installing ${name} failed"
}
doins() {
	local each
	[[ $1 == -r ]] && shift
	for each; do
		if [[ -d ${each} ]]; then
			install -d -- "${ED%/}/${__hatchery_insinto#/}" && cp -RP -- "${each%/}" "${ED%/}/${__hatchery_insinto#/}/" || __helpers_die "doins ${each} failed"
		else
			__hatchery_install "${__hatchery_insinto}" "${each##*/}" "${each}" "${__hatchery_insopts[@]}"
		fi
	done
}
newins() { __hatchery_install "${__hatchery_insinto}" "$2" "$1" "${__hatchery_insopts[@]}"; }
doexe() { local each; for each; do __hatchery_install "${__hatchery_exeinto}" "${each##*/}" "${each}" "${__hatchery_exeopts[@]}"; done; }
newexe() { __hatchery_install "${__hatchery_exeinto}" "$2" "$1" "${__hatchery_exeopts[@]}"; }
dobin() { local each; for each; do __hatchery_install "${__hatchery_into:-/usr}/bin" "${each##*/}" "${each}" -m0755; done; }
newbin() { __hatchery_install "${__hatchery_into:-/usr}/bin" "$2" "$1" -m0755; }
dosbin() { local each; for each; do __hatchery_install "${__hatchery_into:-/usr}/sbin" "${each##*/}" "${each}" -m0755; done; }
newsbin() { __hatchery_install "${__hatchery_into:-/usr}/sbin" "$2" "$1" -m0755; }
# Until EAPI 7 these go by insopts and exeopts.
__hatchery_modes() {
	modes=( "$1" )
	__hatchery_since 8 || modes=( "${@:2}" )
}
doconfd() { local each modes; __hatchery_modes -m0644 "${__hatchery_insopts[@]}"; for each; do __hatchery_install /etc/conf.d "${each##*/}" "${each}" "${modes[@]}"; done; }
newconfd() { local modes; __hatchery_modes -m0644 "${__hatchery_insopts[@]}"; __hatchery_install /etc/conf.d "$2" "$1" "${modes[@]}"; }
doenvd() { local each modes; __hatchery_modes -m0644 "${__hatchery_insopts[@]}"; for each; do __hatchery_install /etc/env.d "${each##*/}" "${each}" "${modes[@]}"; done; }
newenvd() { local modes; __hatchery_modes -m0644 "${__hatchery_insopts[@]}"; __hatchery_install /etc/env.d "$2" "$1" "${modes[@]}"; }
doinitd() { local each modes; __hatchery_modes -m0755 "${__hatchery_exeopts[@]}"; for each; do __hatchery_install /etc/init.d "${each##*/}" "${each}" "${modes[@]}"; done; }
newinitd() { local modes; __hatchery_modes -m0755 "${__hatchery_exeopts[@]}"; __hatchery_install /etc/init.d "$2" "$1" "${modes[@]}"; }
emake() { ${MAKE:-make} "$@" || __helpers_die "emake failed"; }

# --- no effect, or not here ------------------------------------------------------------------------------------------------------

addread() { :; }
addwrite() { :; }
addpredict() { :; }
adddeny() { :; }
register_die_hook() { :; }
register_success_hook() { :; }

# The kernel that runs here is another one on the next machine, and none that the image starts with; eclasses note what it says of itself
# (KV_FULL) in the package's record. All are told of the same one.
uname() {
	local answer
	answer=$(command uname "$@") || return
	answer=${answer//"$(command uname -r)"/6.1.0}
	printf '%s\n' "${answer//"$(command uname -v)"/#1 SMP}"
}

# What belongs to other phases or to no phase at all (PMS 12.3, 12.3.15) would not be found, and a script would go on without it.
for __hatchery_each in inherit portageq default unpack econf einstall einstalldocs eapply eapply_user docinto dodoc newdoc dohtml doman newman \
	doinfo domo doheader newheader dolib dolib.a dolib.so newlib.a newlib.so libopts docompress dostrip dosed; do
	eval "${__hatchery_each}() { die \"${__hatchery_each} is not allowed in \${EBUILD_PHASE_FUNC:-\${EBUILD_PHASE}} (PMS 12.3)\"; }"
done

# --- the phases ------------------------------------------------------------------------------------------------------------------

__hatchery_phase() {
	EBUILD_PHASE=$1
	EBUILD_PHASE_FUNC=pkg_$1
	printf '>>> %s\n' "pkg_$1" >&2
	declare -F "pkg_$1" > /dev/null || return 0
	# What a phase function returns means nothing; it fails by die (PMS 9).
	"pkg_$1"
	return 0
}

# What survives into the next phase and the VDB: all but what bash makes, what this system sets, and this library.
__hatchery_save() {
	local __hatchery_name __hatchery_names __hatchery_kept=()
	# Lists go through files, which bash reads in blocks and without another process, unlike pipes and here-strings.
	compgen -A variable >| "${__hatchery_dir}/list"
	mapfile -t __hatchery_names < "${__hatchery_dir}/list"
	for __hatchery_name in "${__hatchery_names[@]}"; do
		case ${__hatchery_name} in
			__hatchery_* | BASH* | COMP_* | DIRSTACK | EPOCH* | EUID | FUNCNAME | GROUPS | HISTCMD | HOSTNAME | HOSTTYPE | IFS | LINENO) ;;
			MACHTYPE | OLDPWD | OPTARG | OPTERR | OPTIND | OSTYPE | PIPESTATUS | PPID | PWD | RANDOM | REPLY | SECONDS | SHELLOPTS | SHLVL) ;;
			SRANDOM | TERM | UID | _ | HOME | PATH | TMPDIR | T | D | ED | ROOT | EROOT | SYSROOT | ESYSROOT | BROOT | WORKDIR) ;;
			EPREFIX | LC_ALL | MAKEOPTS | PS4 | SYSTEMD_OFFLINE | XDG_CONFIG_HOME | XDG_DATA_HOME | XDG_RUNTIME_DIR) ;;
			EBUILD_PHASE | EBUILD_PHASE_FUNC | MERGE_TYPE | REPLACING_VERSIONS | REPLACED_BY_VERSION | PORTAGE_BUILDDIR) ;;
			*) __hatchery_kept+=( "${__hatchery_name}" ) ;;
		esac
	done
	(( ${#__hatchery_kept[@]} )) && declare -p "${__hatchery_kept[@]}"
	__hatchery_kept=()
	compgen -A function >| "${__hatchery_dir}/list"
	mapfile -t __hatchery_names < "${__hatchery_dir}/list"
	# With extdebug, `declare -F` tells where a function comes from: name, line, file.
	shopt -s extdebug
	declare -F "${__hatchery_names[@]}" >| "${__hatchery_dir}/list"
	shopt -u extdebug
	mapfile -t __hatchery_names < "${__hatchery_dir}/list"
	for __hatchery_name in "${__hatchery_names[@]}"; do
		[[ ${__hatchery_name} == *" ${BASH_SOURCE[0]}" ]] || __hatchery_kept+=( "${__hatchery_name%% *}" )
	done
	(( ${#__hatchery_kept[@]} )) && declare -f "${__hatchery_kept[@]}"
	return 0
}

trap 'exit 1' TERM
for __hatchery_each; do
	if [[ ${__hatchery_each} == pretend ]]; then
		# It may not change anything, variables included.
		( __hatchery_phase pretend )
	else
		__hatchery_phase "${__hatchery_each}"
	fi
	[[ ! -e ${__hatchery_dir}/died ]] || exit 1
done
__hatchery_save > "${__hatchery_dir}/environment.new" || exit 1
exit 0
