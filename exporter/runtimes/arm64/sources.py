"""Where this machine gets Debian's packages from, as its own apt is told."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from converters.errors import RuntimeUnavailableError

_ETC: Final = Path("/etc/apt")
_KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# What a source of Debian proper is called; others (-security, -updates, a vendor's) do not hold all packages.
_SUITES: Final = {
    *("oldoldstable", "oldstable", "stable", "testing", "unstable", "sid"),
    *("buster", "bullseye", "bookworm", "trixie", "forky", "duke"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """An archive of Debian packages: its address, and the keys that sign its lists ("" for apt's own set)."""

    uri: str
    signed_by: str

    def entry(self, release: str) -> str:
        """The source as a file of apt's, for a release of Debian."""
        text = f"Types: deb\nURIs: {self.uri}\nSuites: {release}\nComponents: main\n"
        return text + (f"Signed-By: {self.signed_by}\n" if self.signed_by else "")


def debian_sources(etc: Path = _ETC) -> list[Source]:
    """Every source of Debian's packages that this machine's apt knows, without those named twice.

    Raises:
        RuntimeUnavailableError: there is none, as on other systems than Debian.
    """
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    found: list[Source] = []
    for path in files:
        if path.is_file() and path.suffix in (".list", ".sources"):
            text = path.read_text(encoding="utf-8", errors="replace")
            found += _stanzas(text) if path.suffix == ".sources" else _lines(text)
    if not found:
        raise RuntimeUnavailableError(
            f"{etc}: names no source of Debian packages, of which the ARM64 userland is made; "
            f"a Debian machine is needed"
        )
    return list(dict.fromkeys(found))


def _lines(text: str) -> Iterator[Source]:
    """`deb [OPTIONS] URI SUITE COMPONENT...`"""
    for line in text.splitlines():
        found = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]*)", line)
        if found:
            options, uri, suite, components = found.groups()
            signed = re.search(r"signed-by=(\S+)", options or "", re.IGNORECASE)
            yield from _source(uri, [suite], components.split(), signed.group(1) if signed else "")


def _stanzas(text: str) -> Iterator[Source]:
    """The format of `man sources.list` called deb822: fields, a blank line between sources."""
    without_comments = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n[ \t]*\n", without_comments):
        fields = {
            name.lower(): value.strip()
            for name, value in re.findall(r"^([A-Za-z-]+):((?:.*)(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        }
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() not in ("no", "false"):
            for uri in fields.get("uris", "").split():
                suites, components = fields.get("suites", "").split(), fields.get("components", "").split()
                yield from _source(uri, suites, components, fields.get("signed-by", ""))


def _source(uri: str, suites: list[str], components: list[str], signed_by: str) -> Iterator[Source]:
    if _SUITES & set(suites) and "main" in components and not uri.startswith("cdrom:"):
        yield Source(uri, signed_by or (str(_KEYRING) if _KEYRING.exists() else ""))
