"""Postgres' regression suite and the library that it loads: from Debian's packages, without root's rights."""

import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import postgres

# Which of Debian's releases has which major version.
RELEASES = {13: "bullseye", 15: "bookworm", 17: "trixie"}
PART = "src/test/regress"


def major():
    """The major version of the installed Postgres."""
    return int(re.search(r"\d+", postgres.version()).group())


def find(kept, named, say):
    """What the suite needs: its folder, its C library, and a psql of its version."""
    tree = regress_folder(named) if named else None
    if named and not tree:
        raise SystemExit(f"error: {named} has no src/test/regress")
    library = kept / f"lib-{major()}" / "regress.so"
    if not tree:
        unpacked = kept / f"source-{major()}"
        tree = regress_folder(unpacked)
        if not tree:
            fetch_source(kept, unpacked, say)
            tree = regress_folder(unpacked)
    if not library.exists():
        build_library(kept, tree, library, say)
    return Found(tree, library, psql(kept, tree, say))


@dataclass(frozen=True)
class Found:
    """`src/test/regress` of a source tree; `regress.so`, which may be missing; and psql."""

    tree: Path
    library: Path
    psql: Path


def regress_folder(root):
    """Where below `root` the suite is; None if it isn't."""
    for folder in (root, root / "src/test/regress", *root.glob("*/src/test/regress")):
        if (folder / "parallel_schedule").is_file():
            return folder
    return None


class Apt:
    """apt with lists and caches of its own: needs no rights, and changes nothing of the machine's."""

    def __init__(self, folder):
        release = RELEASES.get(major())
        if not shutil.which("apt-get") or not release:
            raise Unavailable("there is no apt-get" if release else f"no release of Debian has Postgres {major()}")
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
        signed = f"[signed-by={keyring}] " if keyring.exists() else ""
        sources = ((f"{signed}http://deb.debian.org/debian", release),
                   (f"{signed}http://deb.debian.org/debian-security", f"{release}-security"))
        (folder / "sources.list").write_text("".join(
            f"{kind} {where} {suite} main\n" for kind in ("deb", "deb-src") for where, suite in sources))
        self.folder = folder
        self.options = [
            "-o", f"Dir::Etc::sourcelist={folder}/sources.list", "-o", "Dir::Etc::sourceparts=-",
            "-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache", "-o", "APT::Sandbox::User=",
            "-o", "Acquire::http::Timeout=15", "-o", "Acquire::Retries=1"]
        self.run("apt-get", "-q", "update")

    def run(self, tool, *words):
        done = subprocess.run([tool, *self.options, *words], cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise Unavailable(f"{tool} {' '.join(words)}: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
        return done.stdout

    def newest_first(self, tool, words, package):
        """Tries each version of a package that the lists name: a mirror may lack the newest."""
        problem = Unavailable(f"the package lists have no {package}")
        for version in self.versions(package):
            try:
                return self.run(tool, *words, f"{package}={version}")
            except Unavailable as error:
                problem = error
        raise problem

    def versions(self, package):
        """Those that the lists name, newest first."""
        listing = self.run("apt-cache", "madison", package)
        return list(dict.fromkeys(line.split("|")[1].strip() for line in listing.splitlines() if line.count("|") == 2))

    def unpack(self, package, where):
        """A package that was downloaded, without installing it."""
        found = next(self.folder.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", found, where], check=True)
        found.unlink()


class Unavailable(Exception):
    """Something can't be had here; says what."""


class NoSuite(SystemExit):
    """The suite can't be had here; says what could be done about it."""


def psql(kept, tree, say):
    """The installed psql, or that of the suite's own version: another minor version may read scripts differently.

    (15.20's takes what follows a COPY that was refused for its data: older scripts lose their rest.)
    """
    beside = postgres.binaries() / "psql"
    installed = beside if beside.exists() else Path(shutil.which("psql") or "psql")
    said = subprocess.run([installed, "--version"], check=True, capture_output=True, text=True).stdout
    wanted = re.search(r"postgresql-(\d+\.\d+)", str(tree))
    if not wanted or wanted[1] in said:
        return installed
    unpacked = kept / f"psql-{wanted[1]}"
    found = unpacked / f"usr/lib/postgresql/{major()}/bin/psql"
    if not found.exists():
        say(f"fetching psql {wanted[1]}, the suite's version")
        package = f"postgresql-client-{major()}"
        try:
            apt = Apt(kept / "apt")
            version = next(v for v in apt.versions(package) if v.startswith(wanted[1]))
            apt.run("apt-get", "-q", "download", f"{package}={version}")
            apt.unpack(package, unpacked)
        except (Unavailable, StopIteration, subprocess.CalledProcessError) as error:
            say(f"it can't be had ({error}): the installed one is used, in all runs alike")
            return installed
    return found


def fetch_source(kept, unpacked, say):
    package = f"postgresql-{major()}"
    say(f"fetching the source of {package}")
    folder = kept / "apt"
    try:
        apt = Apt(folder)
        apt.newest_first("apt-get", ["-q", "source", "--download-only"], package)
        archive = next(folder.glob(f"{package}_*.orig.tar.*"), None)
        if not archive:
            raise Unavailable("apt-get brought no .orig.tar")
        shutil.rmtree(unpacked, ignore_errors=True)
        unpacked.mkdir(parents=True)
        with tarfile.open(archive) as tar:
            wanted = [member for member in tar if f"/{PART}/" in member.name and (member.isfile() or member.isdir())]
            tar.extractall(unpacked, wanted)
        archive.unlink()
    except (Unavailable, tarfile.TarError, OSError) as error:
        raise NoSuite(
            f"error: Postgres' regression suite couldn't be fetched: {error}\n"
            f"       Needed is an unpacked source tree of Postgres {major()} (src/test/regress is enough):\n"
            f"       scripts/regress --source FOLDER\n"
            f"       Debian: apt-get source postgresql-{major()}, with a deb-src line in the sources;\n"
            f"       elsewhere: https://www.postgresql.org/ftp/source/") from error


def build_library(kept, tree, library, say):
    """`regress.so` holds the suite's C functions. Without it the files that need it fail, in both runs alike."""
    say("building regress.so")
    try:
        headers = find_headers(kept)
        library.parent.mkdir(parents=True, exist_ok=True)
        command = ["cc", "-O1", "-w", "-fPIC", "-shared", f"-I{headers}", "-o", library, tree / "regress.c"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Unavailable(done.stderr.strip())
    except (Unavailable, subprocess.CalledProcessError, StopIteration, OSError) as error:
        say(f"regress.so is missing, so files that load it fail in every run: {error}")


def find_headers(kept):
    """The folder of the server's headers, installed or from the package."""
    config = postgres.binaries() / "pg_config"
    if config.exists():
        said = subprocess.run([config, "--includedir-server"], check=True, capture_output=True, text=True).stdout.strip()
        if os.path.exists(f"{said}/postgres.h"):
            return said
    package = f"postgresql-server-dev-{major()}"
    apt = Apt(kept / "apt")
    apt.newest_first("apt-get", ["-q", "download"], package)
    unpacked = kept / f"headers-{major()}"
    apt.unpack(package, unpacked)
    return next(unpacked.glob("usr/include/postgresql/*/server"))
