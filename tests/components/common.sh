# Shared by the scripts beside it: where their programs come from. Sourced, never run.
#
# Programs are Debian's packages, unpacked into a cache folder and run from there: nothing is installed in the system, so
# that no service starts by itself, both generations of an engine stand side by side, and a machine that has its own is
# left as it is. The folder is `target/components`, or what FAIRLEAD_TESTS_COMPONENTS names; it may be deleted at any time
# when nothing runs from it.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${FAIRLEAD_TESTS_COMPONENTS:-$here/../../target/components}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

# How long one process waits for another that installs: a slow download and some.
INSTALL_SECONDS=900

# How long one that starts or ends something waits for another that does so in the same folder.
LOCK_SECONDS=120

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || fail "\`$tool\` is missing"
    done
}

# is_process PID WORD: a process of this number runs, is no zombie, and has the word in its command line, so that a number
# that the system has given away again is not mistaken for ours.
is_process() {
    local attempt words
    [[ -n $1 ]] || return 1
    for attempt in {1..50}; do
        words=$(tr '\0' '\n' 2>/dev/null <"/proc/$1/cmdline") || return 1
        if [[ -n $words ]]; then break; fi
        # A zombie has no command line, and neither has, for a moment, a process that begins another program.
        grep -q '^State:[[:space:]]*[ZX]' "/proc/$1/status" 2>/dev/null && return 1
        sleep 0.02
    done
    [[ $words == *"$2"* ]]
}

# await SECONDS COMMAND...: until it succeeds; fails at the deadline.
await() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        if ((SECONDS >= until)); then return 1; fi
        sleep 0.05
    done
}

# lock_folder FOLDER: makes it, if need be, and holds it as file 8 against others that start or end something there.
lock_folder() {
    while true; do
        own_folder "$1" >/dev/null
        exec 8>"$1/component.lock"
        flock --wait "$LOCK_SECONDS" 8 || fail "another process is busy with $1 for $LOCK_SECONDS s"
        # Who held it may have removed the folder: then this is the lock of nothing.
        if [[ $1/component.lock -ef /proc/self/fd/8 ]]; then return; fi
    done
}

# libraries FOLDER: where the unpacked packages have theirs, as the loader wants to be told.
libraries() {
    local IFS=: folders=("$1"/usr/lib/*-linux-gnu "$1"/lib/*-linux-gnu)
    echo "${folders[*]}"
}

# own_folder FOLDER: makes it, with no one else allowed in, and prints its whole path. One that has other things in it is
# refused, because what is in it will be removed.
own_folder() {
    mkdir -p "$1"
    [[ -z $(ls -A "$1") || -e $1/component.lock ]] || fail "$1 is not empty, and no component's: name another folder"
    chmod 700 "$1"
    (cd "$1" && pwd)
}

# down_with OWNER FOLDER: takes the thing of this folder down once the process OWNER has ended, however it ended.
down_with() {
    setsid bash -c 'tail --pid="$1" --sleep-interval=0.2 -f /dev/null; exec "$2" down "$3"' \
        "$(basename "$0")-owner" "$1" "$0" "$2" </dev/null >/dev/null 2>&1 &
    echo $! >"$2/owner"
}

# forget_owner FOLDER: ends what `down_with` began, unless it is what calls this.
forget_owner() {
    local watcher
    watcher=$(cat "$1/owner" 2>/dev/null || true)
    if [[ $watcher != "$$" ]] && is_process "$watcher" "$1"; then
        # Its `tail` has no other child and ends with the process group, which `setsid` made.
        kill -KILL -- "-$watcher" 2>/dev/null || true
    fi
}

# packages NAME SUITE PACKAGE[=GLOB]...: prints the folder into which these packages are unpacked, and makes it first if it
# is not there. Safe when several processes call it at once.
packages() {
    need apt-get apt-cache dpkg flock sha256sum
    local key link
    key=$( (cat "$here/common.sh" && printf '%s\n' "$@") | sha256sum | cut -c 1-16)
    link=$cache/$1-$key
    if [[ ! -e $link ]]; then
        (
            flock --wait "$INSTALL_SECONDS" 9 || fail "another process has installed for $INSTALL_SECONDS s"
            if [[ ! -e $link ]]; then unpack "$link" "$@"; fi
        ) 9>"$cache/lock" >&2
    fi
    (cd "$link" && pwd -P)
}

# unpack LINK NAME SUITE PACKAGE[=GLOB]...: the folder's name holds the versions, the link's what was asked for.
unpack() {
    local link=$1 name=$2 suite=$3 work package versions=()
    shift 3
    work=$(mktemp -d "$cache/work.XXXXXX")
    # shellcheck disable=SC2064 # The folder of now.
    trap "rm -rf '$work'" EXIT
    configure_apt "$work" "$suite"
    export APT_CONFIG=$work/apt.conf
    # A mirror that is just being renewed, or a dropped connection: the second or third attempt is a good one.
    retried apt-get update || fail "the package lists cannot be had: $(tail -n 5 "$work/log")"
    for package; do
        versions+=("$(candidate "$package" "$suite")")
    done
    local folder
    folder=$cache/$name-unpacked-$(printf '%s\n' "$link" "${versions[@]}" | sha256sum | cut -c 1-16)
    mkdir "$work/packages" "$work/root"
    cd "$work/packages"
    retried apt-get download "${versions[@]}" || fail "packages cannot be had: $(tail -n 5 "$work/log")"
    for package in *.deb; do
        dpkg -x "$package" "$work/root"
    done
    printf '%s\n' "${versions[@]}" >"$work/root/versions"
    rm -rf "$folder"
    mv "$work/root" "$folder"
    ln -s "$(basename "$folder")" "$work/link"
    mv -T "$work/link" "$link"
}

# retried COMMAND...: three attempts, told in the log of `unpack`.
retried() {
    local attempt
    for attempt in 1 2 3; do
        if "$@" >>"$work/log" 2>&1 </dev/null; then return 0; fi
        sleep "$attempt"
    done
    return 1
}

# candidate PACKAGE[=GLOB] SUITE: `package=version`, of the suite, and matching the glob if there is one.
candidate() {
    local package=${1%%=*} glob='*' version found=
    if [[ $1 == *=* ]]; then glob=${1#*=}; fi
    while read -r version; do
        # shellcheck disable=SC2053 # It is a pattern.
        if [[ -z $found && $version == $glob ]]; then found=$version; fi
    done < <(apt-cache madison "$package" | awk -F ' *[|] *' '{ gsub(" ", "", $2); print $2 }')
    [[ -n $found ]] || fail "Debian's $2 has no $package $glob any more: name another version or suite in $0"
    printf '%s=%s\n' "$package" "$found"
}

# configure_apt WORK SUITE: sources, lists and cache of our own. What the system has installed and trusts stays as it is;
# proxies and certificates of its configuration hold.
configure_apt() {
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror
    [[ -r $keyring ]] || fail "this is no Debian: $keyring is missing (package debian-archive-keyring)"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m 1 -E '/debian/?$' || true)
    mkdir -p "$1"/{state/lists/partial,cache/archives/partial}
    : >"$1/status"
    echo "deb [signed-by=$keyring] ${mirror:-http://deb.debian.org/debian} $2 main" >"$1/sources.list"
    cat >"$1/apt.conf" <<END
Dir::State "$1/state";
Dir::State::status "$1/status";
Dir::Cache "$1/cache";
Dir::Etc::SourceList "$1/sources.list";
Dir::Etc::SourceParts "-";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
END
}
