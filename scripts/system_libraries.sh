#!/bin/sh
# Make sure that the libraries which Qt and OpenGL load at run time are there, with a virtual
# screen for the tests. On Debian and Ubuntu, as root, missing ones are installed; everywhere
# else they are named, and the exit status is 1. With the argument `tests`, also install programs
# that only tests run.
set -u

# One "probe package" a line: a shared object, "cmd:" a program, or "dri:" Mesa's drivers.
WANTED='
cmd:Xvfb                  xvfb
cmd:xvfb-run              xvfb
cmd:xauth                 xauth
dri:                      libgl1-mesa-dri
libGL.so.1                libgl1
libGLX_mesa.so.0          libglx-mesa0
libEGL.so.1               libegl1
libOpenGL.so.0            libopengl0
libglib-2.0.so.0          libglib2.0-0
libfontconfig.so.1        libfontconfig1
libfreetype.so.6          libfreetype6
libdbus-1.so.3            libdbus-1-3
libX11-xcb.so.1           libx11-xcb1
libxkbcommon.so.0         libxkbcommon0
libxkbcommon-x11.so.0     libxkbcommon-x11-0
libxcb-cursor.so.0        libxcb-cursor0
libxcb-glx.so.0           libxcb-glx0
libxcb-icccm.so.4         libxcb-icccm4
libxcb-image.so.0         libxcb-image0
libxcb-keysyms.so.1       libxcb-keysyms1
libxcb-randr.so.0         libxcb-randr0
libxcb-render-util.so.0   libxcb-render-util0
libxcb-render.so.0        libxcb-render0
libxcb-shape.so.0         libxcb-shape0
libxcb-shm.so.0           libxcb-shm0
libxcb-sync.so.1          libxcb-sync1
libxcb-util.so.1          libxcb-util1
libxcb-xfixes.so.0        libxcb-xfixes0
libxcb-xinerama.so.0      libxcb-xinerama0
libxcb-xkb.so.1           libxcb-xkb1
font:                     fonts-dejavu-core
'

[ "$(uname -s)" = Linux ] || exit 0

ldconfig=$(command -v ldconfig || echo /sbin/ldconfig)
known=$("$ldconfig" -p 2>/dev/null || true)

present() {
    case $1 in
        cmd:*) command -v "${1#cmd:}" >/dev/null 2>&1 ;;
        dri:) ls /usr/lib/*/dri/*.so /usr/lib*/dri/*.so >/dev/null 2>&1 ||
            find /usr/lib /usr/lib64 -name 'swrast_dri.so' 2>/dev/null | grep -q . ;;
        font:) find /usr/share/fonts /usr/local/share/fonts -name '*.[to]tf' 2>/dev/null |
            grep -q . ;;
        *) printf '%s\n' "$known" | grep -q "[[:space:]]$1 " ;;
    esac
}

missing() {
    printf '%s\n' "$WANTED" | while read -r probe package; do
        [ -n "$probe" ] || continue
        present "$probe" || printf '%s\n' "$package"
    done | sort -u | tr '\n' ' '
}

# Programs that only tests run, and that these tests skip by name where they are missing.
programs() {
    for pair in chromium:chromium chromedriver:chromium-driver dcmftest:dcmtk dciodvfy:dicom3tools; do
        command -v "${pair%%:*}" >/dev/null 2>&1 || printf '%s ' "${pair#*:}"
    done
}

if [ "${1:-}" = tests ] && [ -n "$(programs)" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing programs for tests: $(programs)" >&2
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2046  # a list of names, meant to be split
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $(programs); } >&2 ||
        echo "Continuing without them: their tests are skipped." >&2
fi

packages=$(missing)
[ -n "$packages" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing missing system libraries: $packages" >&2
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # a list of names, meant to be split
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages; } >&2
    known=$("$ldconfig" -p 2>/dev/null || true)
    packages=$(missing)
    [ -n "$packages" ] || exit 0
fi

{
    echo "These system libraries are missing (names of Debian's and Ubuntu's packages):"
    echo "    $packages"
    echo "Install them, for example with: sudo apt-get install $packages"
} >&2
exit 1
