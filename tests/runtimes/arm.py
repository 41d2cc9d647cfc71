"""Environments of 64-bit ARM processors, run by qemu: Debian's Python and libraries, unpacked.

Needs a Debian with `apt-get`; nothing is installed into it.
"""

import pathlib
import shutil
import subprocess
import sys

PACKAGES = [
    *("libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libffi8", "libbz2-1.0", "liblzma5"),
    *("libssl3", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib"),
]
PLATFORMS = [f"manylinux_2_{glibc}_aarch64" for glibc in (17, 27, 28, 34, 35)] + [
    "manylinux2014_aarch64"
]

# As a newer processor, qemu 7.2 runs int8 kernels of LiteRT wrongly (8 dB) or dies in them.
PYTHON = """#!/bin/sh
folder=$(dirname "$(dirname "$(readlink -f "$0")")")
libraries=$folder/lib/aarch64-linux-gnu:$folder/usr/lib/aarch64-linux-gnu
qemu="$folder/qemu/usr/bin/qemu-aarch64-static -cpu cortex-a72"
exec $qemu -L "$folder" -E LD_LIBRARY_PATH="$libraries" "$folder/usr/bin/python3.11" "$@"
"""


def make(folder: pathlib.Path, requirements: tuple[str, ...]) -> None:
    """Qemu, Python and the wheels into `folder`, with a program bin/python like that of another one."""
    state = folder / "apt"
    for name in ("lists/partial", "archives/partial"):
        (state / name).mkdir(parents=True)
    (state / "status").touch()
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": state,
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "download", *PACKAGES], check=True, cwd=state)
    for package in state.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
    qemu = state / "qemu"
    qemu.mkdir()
    own = ["apt-get", "-qq", "-oAPT::Sandbox::User=root", "download", "qemu-user-static"]
    subprocess.run(own, check=True, cwd=qemu)
    subprocess.run(["dpkg-deb", "-x", next(qemu.glob("*.deb")), folder / "qemu"], check=True)
    target = folder / "usr/lib/python3/dist-packages"
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    arguments = ["--python-version", "3.11", *platforms, "--target", target]
    subprocess.run([*pip, *arguments, *requirements], check=True)
    shutil.rmtree(state)
    program = folder / "bin" / "python"
    program.parent.mkdir()
    program.write_text(PYTHON)
    program.chmod(0o755)
